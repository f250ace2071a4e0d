# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Serve models until asked to stop."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from pathlib import Path

from model_server.config import ConfigError, read_config
from model_server.rest import RestServer
from model_server.rpc import make_server
from model_server.savedmodel import SavedModel
from model_server.versions import Models


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="model_server", description=__doc__)
    # Named as TensorFlow Serving names them.
    parser.add_argument("--model_config_file", type=Path, required=True, help="a ModelServerConfig in text format")
    parser.add_argument("--port", type=int, default=8500, help="of gRPC")
    parser.add_argument("--rest_api_port", type=int, default=8501)
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1, help="between looks for new versions")
    parser.add_argument("--grpc_threads", type=int, default=8, help="calls that are answered at the same time")
    parser.add_argument(
        "--drain_seconds", type=float, default=3, help="for which requests are still taken after being asked to stop"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    try:
        configs = read_config(options.model_config_file.read_text(encoding="utf-8"))
    except (OSError, ConfigError) as error:
        sys.exit(f"error: --model_config_file: {error}")
    models = Models(configs, SavedModel, options.file_system_poll_wait_seconds)
    rpc = make_server(options.port, models, options.grpc_threads)
    rest = RestServer(options.rest_api_port, models)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    models.start()
    rpc.start()
    threading.Thread(target=rest.serve_forever, name="rest", daemon=True).start()
    logging.info("gRPC at port %d, REST at port %d", options.port, options.rest_api_port)

    stop.wait()
    # Those who send requests learn a moment later than this process that it is about to end.
    logging.info("stopping")
    time.sleep(options.drain_seconds)
    models.stop()
    rest.shutdown()
    rpc.stop(grace=options.drain_seconds).wait()


if __name__ == "__main__":
    main()
