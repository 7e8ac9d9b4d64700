"""Asks this container's own server for a path; exits 0 where the answer is 200.

Otherwise it prints what was said, which `docker inspect` keeps, and exits 1.
"""

import http.client
import os
import sys

ANSWER_SECONDS = 7.0
SHOWN_CHARACTERS = 500


def main(path: str) -> int:
    """Ask once. A service allows its own servers six seconds to answer `/readyz`."""
    port = int(os.environ["HTTP_PORT"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(SHOWN_CHARACTERS).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"{path} doesn't answer: {error or repr(error)}")
        return 1
    finally:
        connection.close()
    print(f"{path} answers {answer.status}: {said}")
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
