"""The served app, and a look at whether everything is ready for work."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from taxidask.cli.base import DONE, FAILED, Json, Lake, Store, app, dumps, output, settings_of, with_settings


@app.command(name="app")
def serve_app(
    *,
    store: Store = None,
    lake: Lake = None,
    port: int = 5006,
    address: str = "127.0.0.1",
    allow_origin: Annotated[list[str] | None, Parameter(negative="")] = None,
    auth: str | None = None,
    users: str | None = None,
    operator: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> int:
    """Serve the app until Ctrl-C.

    Example: `taxidask app --store sqlite:///taxidask.db --lake lake --port 5006`

    Parameters
    ----------
    address
        Where to listen; beyond this machine only if asked, and then nobody writes unless they sign in.
    allow_origin
        A further HOST:PORT that browsers reach the app by, as behind a load balancer; may be repeated.
    auth
        How visitors sign in: basic, or auth0, azure, bitbucket, github, gitlab, google or okta with PANEL_OAUTH_KEY
        and PANEL_OAUTH_SECRET in the environment.
    users
        A JSON file of names and passwords, for `--auth basic`.
    operator
        Who of them may also add trips, start and cancel runs and build the report; may be repeated.
    """
    from taxidask.app import serve

    serve(
        settings=settings_of(store=store, lake=lake),
        port=port,
        address=address,
        allow_origins=allow_origin or [],
        auth=auth,
        users=users,
        operators=operator or [],
    )
    return DONE


@app.command
@with_settings
def doctor(*, json: Json = False, **given: Any) -> int:
    """Check settings, store, lake, sources and Dask; print what is wrong and the remedy.

    Example: `taxidask doctor --lake lake`
    """
    from taxidask.doctor import examine

    findings = examine(given)
    if json:
        print(dumps([vars(finding) for finding in findings]))
    else:
        for finding in findings:
            output(finding)
    return DONE if all(finding.ok for finding in findings) else FAILED
