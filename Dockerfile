# One image for everything that runs in a pod: operator, scheduler, worker, driver, app, notebooks.
#
#     docker build -t taxidask:0.1.0 .        or podman, or buildah
#     docker run --rm --read-only --tmpfs /tmp --tmpfs /home/taxidask:uid=1000 taxidask:0.1.0 taxidask doctor
#
# The layers, from the one that changes least to the one that changes most: Debian with Python, the packages of
# requirements.lock, compiled kernels, the package; a change of code makes the last one only. Packages over 50 MB and why they are in it:
#   llvmlite 172 MB  numba's compiler; kernels are compiled for types that the warmed ones do not cover
#   pyarrow  165 MB  Parquet, and tables without copies
#   panel    112 MB  the app's pages, all their files served from here and not from a CDN
#   scipy     83 MB  lightgbm cannot be imported without it
#   typst     81 MB  the report's PDF, without TeX or a browser
# After these come numpy with its BLAS (59 MB, every array), pandas (46 MB) and bokeh (32 MB).
#
# Left out, though dask-kubernetes asks for them: the clients kubernetes, kubernetes-asyncio and pykube-ng, 180 MB. Of all
# that is here only kopf would use them, to log in and to know their types, and does the first as well without.

FROM python:3.11-slim-bookworm AS lock
WORKDIR /lock
COPY pyproject.toml requirements.lock k8s/image/lock.py ./
RUN python lock.py --without kubernetes --without kubernetes-asyncio --without pykube-ng >packages.txt \
    && python lock.py hatchling >backend.txt

FROM python:3.11-slim-bookworm AS packages
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
    && useradd --uid 1000 --user-group --create-home --home-dir /home/taxidask --shell /usr/sbin/nologin taxidask
COPY --from=lock /lock/packages.txt /opt/taxidask/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install -q --no-deps --require-hashes --only-binary :all: -r /opt/taxidask/packages.txt \
    && find /opt/venv/lib/python3.11/site-packages -type d \( -name tests -o -name include \) -prune -exec rm -rf {} + \
    && find /opt/venv -name '*.js.map' -delete
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8

# numba keeps a kernel by the path and content of its source: compiled where the package will lie. Only the rooms that
# have kernels and what these import, so that a change elsewhere compiles nothing.
FROM packages AS kernels
# Every x86-64 server on EKS has AVX2: kernels compiled for that level serve them all, where those for the builder's own
# processor would be compiled anew on any other. For another architecture: --build-arg CPU=generic
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=$CPU NUMBA_CPU_FEATURES="" NUMBA_CACHE_DIR=/opt/taxidask/numba
WORKDIR /opt/venv/lib/python3.11/site-packages/taxidask
COPY taxidask/__init__.py taxidask/clock.py taxidask/compiled.py taxidask/counterparts.py taxidask/credentials.py taxidask/errors.py taxidask/lazy.py taxidask/progress.py taxidask/settings.py taxidask/tariff.py taxidask/units.py taxidask/words.py ./
COPY taxidask/storage storage
COPY taxidask/space space
COPY taxidask/sample sample
COPY taxidask/cube cube
COPY taxidask/trips trips
COPY taxidask/models/__init__.py taxidask/models/forest.py models/
COPY k8s/image/warm.py /opt/taxidask/
RUN python -B /opt/taxidask/warm.py

FROM packages AS package
WORKDIR /src
COPY --from=lock /lock/backend.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --without-pip /opt/backend \
    && pip --python /opt/backend/bin/python install -q --no-deps --require-hashes --only-binary :all: -r backend.txt
COPY pyproject.toml README.md LICENSE ./
COPY report report
COPY taxidask taxidask
RUN pip --python /opt/backend/bin/python wheel -q --no-deps --no-build-isolation --no-index --wheel-dir /wheel . \
    && pip --python /opt/venv/bin/python install -q --no-deps --no-index /wheel/*.whl \
    && mkdir -p /only/bin /only/lib/python3.11/site-packages && cp -a /opt/venv/bin/taxidask /only/bin/ \
    && cp -a /opt/venv/lib/python3.11/site-packages/taxidask* /only/lib/python3.11/site-packages/

FROM packages
# what installs, builds, or runs as somebody else goes; the list of Debian's packages stays, for scanners
RUN find / -xdev \( -path '/usr/lib/python3*' -o -path '/usr/local/lib/python3*' -o -path '/usr/bin/*' -o -path '/usr/local/bin/*' \) \
        \( -name 'pip*' -o -name 'setuptools*' -o -name 'wheel*' -o -name 'pkg_resources' -o -name '_distutils_hack' \
        -o -name 'distutils-*' -o -name 'ensurepip' -o -name 'idlelib' -o -name 'lib2to3' -o -name '2to3*' \) -prune -exec rm -rf {} + \
    && rm -rf /usr/share/python-wheels /usr/share/perl* /usr/lib/*-linux-gnu/perl* /var/lib/apt \
    && rm -f /usr/bin/apt* /usr/bin/dpkg* /usr/bin/perl* /usr/bin/deb* \
    && find / -xdev -type f -perm /6000 -delete
COPY --from=kernels /opt/taxidask /opt/taxidask
COPY k8s/image/entrypoint /usr/local/bin/taxidask-entrypoint
ARG CPU=x86-64-v3
ENV HOME=/home/taxidask PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba NUMBA_CPU_NAME=$CPU NUMBA_CPU_FEATURES="" DASK_TEMPORARY_DIRECTORY=/tmp
LABEL org.opencontainers.image.title="taxidask" \
      org.opencontainers.image.description="New York taxi trips on Dask: operator, scheduler, worker, driver, app and notebooks" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
USER 1000:1000
WORKDIR /home/taxidask
EXPOSE 5006 8786 8787 8888
ENTRYPOINT ["taxidask-entrypoint"]
CMD ["taxidask", "--help"]
COPY --from=package /only /opt/venv
