"""``privmed serve``: the server of covert analysis. It gets photographs, and answers with photographs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Reporter, Seed, Set, TokenFile, in_use, in_words, make

WARM = 64  # pixels of the side of a photograph that is analysed before anybody asks


def command(
    analyzer: Annotated[str, typer.Option(help="Method.")] = "hidemia",
    weights: Annotated[str | None, typer.Option(help="Bundled name (busi, isic, cxr) or file.")] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    token_file: TokenFile = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Answer anybody who reaches another address than this machine's own.")
    ] = False,
    batch: Annotated[int | None, typer.Option(help="Photographs of one size that are analysed at once.")] = None,
    wait: Annotated[float | None, typer.Option(help="Milliseconds that a photograph waits for others.")] = None,
    queue: Annotated[int | None, typer.Option(help="Requests that are taken at once; others get status 429.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Of a photograph, and of a batch.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Of a request's body.")] = None,
    patience: Annotated[
        float | None, typer.Option(help="Seconds for a client to send a request, or take the answer.")
    ] = None,
    set_: Set = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Analyse photographs that clients send over HTTP."""
    from privmed.errors import MissingDependencyError, SettingsError
    from privmed.tokens import tokens

    try:
        from privmed.server.run import listen, make_server
    except ImportError as error:
        raise MissingDependencyError(
            f"a server needs FastAPI and uvicorn ({error}): pip install 'privmed[server]'."
        ) from error
    import torch

    from privmed.client import is_loopback, model_version
    from privmed.server.settings import ServerSettings
    from privmed.settings import structure

    given = {
        "batch": batch,
        "wait": wait,
        "queue": queue,
        "max_pixels": max_pixels,
        "max_bytes": max_bytes,
        "patience": patience,
    }
    settings = structure(ServerSettings, {k: v for k, v in given.items() if v is not None}, "serve")
    allowed = tokens(token_file)
    if not allowed and not no_token and not is_loopback(host):
        raise SettingsError(
            f"on {host} anybody could ask this server. Give it --token-file or PRIVMED_TOKEN, or say --no-token."
        )
    method = make("analyzer", analyzer, weights, device, set_)
    method.analyze(torch.full((1, 3, WARM, WARM), 0.5))
    reporter = Reporter(json, quiet)
    server = make_server(
        lambda stego: method.analyze(stego, generator=seed),
        settings,
        allowed,
        lambda line: None if quiet else print(line, file=sys.stderr, flush=True),
        model_version(method),
    )
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        reporter.say(f"{url} answers with {in_words(method)}; Ctrl-C ends it.")
        reporter.finish(
            {"url": url, "analyzer": method.name, "weights": in_use(analyzer=method), "tokens": len(allowed)}
        )
        sys.stdout.flush()
        server.run(sockets=[listener])
