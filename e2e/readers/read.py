# Reads requests of the proxy the way a Python back-end does. See read.mjs.
import base64
import json
import sys


def show(o, key):
    if key not in o:
        return "-"
    return "=" + o[key].encode().hex() if isinstance(o[key], str) else "!"


for line in sys.stdin:
    try:
        commands = json.loads(base64.b64decode(line))["commands"]
        print(";".join(
            " ".join([show(c["action"], "type"), show(c["action"], "channel"), show(c["action"], "id"), show(c["meta"], "id")])
            for c in commands if c["command"] == "action"
        ))
    except Exception as e:
        print("failed:", str(e).replace("\n", " "))
