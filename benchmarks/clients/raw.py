# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The floor: nothing but POST requests over eight connections that are kept alive.

Arguments: host and port of the API server, its CA's certificate, the client's certificate and key, the path to post
to, and a file with a manifest in JSON on each line.
"""

from __future__ import annotations

import http.client
import queue
import ssl
import sys
import threading

CONNECTIONS = 8


def main(address: str, authority: str, certificate: str, key: str, path: str, file: str) -> None:
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    bodies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with open(file, "rb") as stream:
        for line in stream:
            bodies.put(line)
    refused: list[str] = []

    def work() -> None:
        connection = http.client.HTTPSConnection(address, context=context)
        while True:
            try:
                body = bodies.get_nowait()
            except queue.Empty:
                return
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            if response.status != 201:
                refused.append(answer.decode())

    threads = [threading.Thread(target=work) for _ in range(min(CONNECTIONS, bodies.qsize()))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        sys.exit("\n".join(refused[:3]))


if __name__ == "__main__":
    main(*sys.argv[1:])
