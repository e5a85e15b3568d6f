"""A chat behind the Logux proxy, in Python 3 without packages.

  LOGUX_CONTROL_SECRET=… python3 server.py

It listens on PORT (3000). PROXY is the control API of the proxy (http://127.0.0.1:31337/).
"""
import hmac
import json
import os
import threading
import time
import traceback
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["LOGUX_CONTROL_SECRET"]
PROXY = os.environ.get("PROXY", "http://127.0.0.1:31337/")
PORT = int(os.environ.get("PORT", "3000"))

# A real application checks a session or a signed token.
TOKENS = {"10": "token-of-ann", "20": "token-of-bob"}

# Stands for a table of a database with a unique key: meta.id. A command may come twice with the same ID; the second one
# must change nothing and is answered like the first.
messages = {}
lock = threading.Lock()  # each request has a thread


def now():
    return int(time.time() * 1000)


def save(room, text, meta):
    with lock:
        messages.setdefault(meta["id"], {"room": room, "text": text, "time": meta["time"], "came": now()})


def load(room, since):
    with lock:
        return [(id, m) for id, m in messages.items() if m["room"] == room and m["came"] >= since]


def client_of(id):
    return ":".join(id.split(" ")[1].split(":")[:2])


def is_room(value):
    return isinstance(value, str) and value.startswith("chat/")


def answer(command):
    """The answers to one command, each to be written as soon as it is there."""
    if command["command"] == "auth":
        token = TOKENS.get(command.get("userId"))
        known = token is not None and token == command.get("token")
        yield {
            "answer": "authenticated" if known else "denied",
            "authId": command["authId"], "subprotocol": command["subprotocol"],
        }
        return
    action, meta = command["action"], command["meta"]
    id = meta["id"]
    if action["type"] == "logux/subscribe":
        room = action["channel"]
        if not is_room(room):
            yield {"answer": "unknownChannel", "id": id}
            return
        # From here on the client gets what is sent to the channel, so load after it and not before.
        yield {"answer": "approved", "id": id}
        # A client that was away says since when. Clocks differ: rather ten seconds too much.
        since = action["since"]["time"] - 10_000 if action.get("since") else 0
        for message_id, m in load(room, since):
            yield {
                "answer": "action", "id": id,
                "action": {"type": "chat/send", "room": room, "text": m["text"]},
                "meta": {"id": message_id, "time": m["time"], "clients": [client_of(id)]},
            }
        yield {"answer": "processed", "id": id}
    elif action["type"] == "chat/send":
        room, text = action.get("room"), action.get("text")
        if not is_room(room) or not isinstance(text, str) or not text:
            yield {"answer": "forbidden", "id": id}
            return
        yield {"answer": "resend", "id": id, "channels": [room]}
        yield {"answer": "approved", "id": id}  # now the others see it
        save(room, text, meta)
        yield {"answer": "processed", "id": id}
    else:
        yield {"answer": "unknownAction", "id": id}


def answer_all(commands):
    for command in commands:
        try:
            yield from answer(command)
        except Exception as e:  # of this command: the others are answered all the same
            traceback.print_exc()
            key = {"authId": command["authId"]} if "authId" in command else {"id": command["meta"]["id"]}
            yield {"answer": "error", **key, "details": str(e)}


def send(action, meta):
    """Gives an action of our own to the proxy."""
    body = {"version": 4, "secret": SECRET, "commands": [{"command": "action", "action": action, "meta": meta}]}
    request = urllib.request.Request(PROXY, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()  # raises what is not 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections, and has chunks
    disable_nagle_algorithm = True

    def do_POST(self):
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        except ValueError:
            return self.finish_with(400, "Wrong body")
        if self.path == "/logux":
            self.logux(body)
        elif self.path == "/announce":
            self.announce(body)
        else:
            self.finish_with(404, "Not found")

    def logux(self, body):
        if body.get("version") != 4:
            return self.finish_with(400, "Back-end protocol version is not supported")
        if not hmac.compare_digest(str(body.get("secret")).encode(), SECRET.encode()):
            return self.finish_with(403, "Wrong secret")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        separator = "["
        for element in answer_all(body["commands"]):
            self.chunk(separator + json.dumps(element))  # at once: the proxy does not wait for the end
            separator = ","
        self.chunk("[]" if separator == "[" else "]")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def announce(self, body):
        """What the application says by itself, here to a room: POST /announce {"room":"chat/1","text":"Hello"}"""
        meta = {"id": f"{now()} app:{os.getpid()}-{threading.get_ident()} 0", "time": now()}
        save(body["room"], body["text"], meta)
        send({"type": "chat/send", "room": body["room"], "text": body["text"]}, {**meta, "channels": [body["room"]]})
        self.finish_with(204)

    def finish_with(self, status, text=""):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, code="-", size="-"):
        pass  # errors are enough


if __name__ == "__main__":
    print(f"Listening on http://127.0.0.1:{PORT}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
