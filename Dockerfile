# One image for everything that runs in a pod: operator, scheduler, worker, driver, app, notebooks.
#
#     docker build -t taxidask:0.1.0 .        or podman, or buildah
#     docker run --rm --read-only --tmpfs /tmp --tmpfs /home/taxidask:uid=1000 taxidask:0.1.0 taxidask doctor
#
# The layers, from the one that changes least to the one that changes most: Debian with Python, the packages of
# requirements.lock, compiled kernels, the package. Packages over 50 MB and why they are in it:
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
RUN python lock.py --without kubernetes --without kubernetes-asyncio --without pykube-ng >runtime.txt \
    && python lock.py hatchling >backend.txt

FROM python:3.11-slim-bookworm AS packages
COPY --from=lock /lock/runtime.txt /lock/backend.txt /lock/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv && python -m venv /opt/build \
    && /opt/build/bin/pip --python /opt/venv/bin/python install -q --no-deps --require-hashes --only-binary :all: -r /lock/runtime.txt \
    && /opt/build/bin/pip install -q --no-deps --require-hashes --only-binary :all: -r /lock/backend.txt \
    && find /opt/venv/lib/python3.11/site-packages -type d \( -name tests -o -name include \) \
        -not -path '*/distributed/*' -not -path '*/_pytest/*' -prune -exec rm -rf {} + \
    && find /opt/venv -name '*.js.map' -delete

# numba keeps a kernel by the path and content of its source: compiled where the package will lie. Only the rooms that
# have kernels, so that a change elsewhere compiles nothing.
FROM packages AS kernels
# Every x86-64 server on EKS has AVX2: kernels compiled for that level serve them all, where those for the builder's own
# processor would be compiled anew on any other. For another architecture: --build-arg CPU=generic
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=$CPU NUMBA_CPU_FEATURES="" NUMBA_CACHE_DIR=/opt/taxidask/numba
WORKDIR /opt/venv/lib/python3.11/site-packages/taxidask
COPY taxidask/__init__.py taxidask/errors.py taxidask/storage.py taxidask/_storage*.py ./
COPY taxidask/space space
COPY taxidask/trips trips
COPY k8s/image/warm.py /opt/taxidask/
RUN /opt/venv/bin/python -B /opt/taxidask/warm.py

FROM packages AS package
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY report report
COPY taxidask taxidask
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation --no-index --wheel-dir /wheel . \
    && /opt/build/bin/pip --python /opt/venv/bin/python install -q --no-deps --no-index /wheel/*.whl

# Debian and Python without what installs and builds; copied as a whole, so that it is in no layer either.
FROM python:3.11-slim-bookworm AS debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /root/.cache /tmp/* /usr/share/doc /usr/share/man /usr/share/locale \
    && find / -xdev \( -path '/usr/lib/python3*' -o -path '/usr/local/lib/python3*' -o -path '/usr/bin/*' -o -path '/usr/local/bin/*' \) \
        \( -name 'pip*' -o -name 'setuptools*' -o -name 'wheel*' -o -name 'pkg_resources' -o -name '_distutils_hack' \
        -o -name 'ensurepip' -o -name 'idlelib' -o -name 'lib2to3' -o -name '2to3*' \) -prune -exec rm -rf {} + \
    && rm -rf /usr/share/python-wheels \
    && useradd --uid 1000 --user-group --create-home --home-dir /home/taxidask --shell /usr/sbin/nologin taxidask

FROM scratch
COPY --from=debian / /
COPY --from=packages /opt/venv /opt/venv
COPY --from=kernels /opt/taxidask /opt/taxidask
COPY k8s/image/entrypoint /usr/local/bin/taxidask-entrypoint
COPY --from=package /opt/venv/bin/taxidask /opt/venv/bin/taxidask
COPY --from=package /opt/venv/lib/python3.11/site-packages/taxidask-0.1.0.dist-info /opt/venv/lib/python3.11/site-packages/taxidask-0.1.0.dist-info
COPY --from=package /opt/venv/lib/python3.11/site-packages/taxidask /opt/venv/lib/python3.11/site-packages/taxidask
ARG CPU=x86-64-v3
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/home/taxidask \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba NUMBA_CPU_NAME=$CPU NUMBA_CPU_FEATURES="" \
    DASK_TEMPORARY_DIRECTORY=/tmp
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
