"""Signs webhooks with Twilio's own library, for tests that compare another implementation with it.

Reads from stdin a JSON list of cases {"token": str, "url": str, "params": [[name, value], ...]} and prints a JSON list
of their X-Twilio-Signature values, in the same order.
"""

import json
import sys

from twilio.request_validator import RequestValidator


class Form(dict):
    """Form parameters, where a name may come more than once: the shape of web frameworks that the library knows."""

    def __init__(self, pairs):
        super().__init__()
        for name, value in pairs:
            self.setdefault(name, []).append(value)

    def getall(self, name):
        return self[name]


def main():
    cases = json.load(sys.stdin.buffer)
    signatures = [RequestValidator(case["token"]).compute_signature(case["url"], Form(case["params"])) for case in cases]
    json.dump(signatures, sys.stdout)


if __name__ == "__main__":
    main()
