"""Serves the page on this machine: no call to another one, and no file outside a folder that is removed at the end."""

import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from .medium import LIMITS, Limits

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(names: Sequence[str] = (), *, host: str = "127.0.0.1", port: int = 7860, limits: Limits = LIMITS) -> None:
    """Serve the page until the process is interrupted; prints its address. Changes this process's environment.

    Args:
        names: tokenizers to offer first, as `tokenzoo.load` takes them.
        host: address to listen on. On any that other machines reach, visitors can pick only `names` and the shipped tokenizers.
        port: 0: any free one.
        limits: of media.

    Raises:
        ValueError: a port that does not exist, or an address and port that cannot be used.
        ModuleNotFoundError: the extra `demo` is not installed.
    """
    port = _free_port(host, port)
    with tempfile.TemporaryDirectory(prefix="tokenzoo-demo-") as folder:
        _be_quiet(folder, host)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optional parts that are not used here, such as ffmpeg
            import gradio as gr

            from .page import build
            from .pool import Pool
            from .sheet import STYLE

            page = build(Pool(names, anything=host in LOOPBACK), limits)
            theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
            page.launch(
                server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, inbrowser=False, ssr_mode=False,
                pwa=False, mcp_server=False, enable_monitoring=False, show_error=False, footer_links=[], theme=theme, css=STYLE,
                max_file_size=limits.file_mb * 1_000_000, state_session_capacity=32,
            )  # fmt: skip
        try:
            print(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (Ctrl-C ends it)", flush=True)
            _wait()
        finally:
            page.close(verbose=False)


def _free_port(host: str, port: int) -> int:
    """`port`, or a free one for 0; ValueError where it cannot be used."""
    if not 0 <= port <= 65535:
        raise ValueError(f"the port is {port}; allowed: 0 (any free one) to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            return int(trial.getsockname()[1])
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"{host}, port {port}, cannot be used ({why}); choose others with --host and --port.") from None


def _be_quiet(folder: str, host: str) -> None:
    """Settings that Gradio reads when it is imported: its files go into `folder`, and it calls no other machine."""
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("NO_PROXY", "no_proxy"):  # it asks its own page once whether it is there
        os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), "127.0.0.1", "localhost", host]))


def _wait() -> None:
    """Wait for Ctrl-C, or for SIGTERM, which ends the process like it: with the folder removed."""

    def end(*_: Any) -> None:
        sys.exit(143)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
    threading.Event().wait()
