"""A chat behind the Logux proxy, in Django without further packages. In a project of yours, logux() and announce() are views and the
table is a model.

  LOGUX_CONTROL_SECRET=… python3 chat.py

It listens on PORT (3000). PROXY is the control API of the proxy (http://127.0.0.1:31337/). DATABASE is a file of SQLite.
"""
import json
import logging
import os
import tempfile
import time
import urllib.request
import uuid

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseForbidden, StreamingHttpResponse
from django.urls import path
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

PROXY = os.environ.get("PROXY", "http://127.0.0.1:31337/")
DATABASE = os.environ.get("DATABASE", os.path.join(tempfile.gettempdir(), "logux-chat.sqlite3"))

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
    LOGUX_CONTROL_SECRET=os.environ["LOGUX_CONTROL_SECRET"],
)

# A real application checks a session (command["cookie"]) or a signed token.
TOKENS = {"10": "token-of-ann", "20": "token-of-bob"}


def now():
    return int(time.time() * 1000)


@transaction.atomic
def save(room, text, meta):
    # A command may come twice with the same meta.id; the second one must change nothing and is answered like the first.
    with connection.cursor() as c:
        c.execute(
            "INSERT INTO messages (id, time, came, room, text) VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
            [meta["id"], meta["time"], now(), room, text],
        )


def load(room, since):
    with connection.cursor() as c:
        c.execute("SELECT id, time, text FROM messages WHERE room = %s AND came >= %s ORDER BY came, rowid", [room, since])
        return c.fetchall()


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
        for message_id, sent, text in load(room, since):
            yield {
                "answer": "action", "id": id,
                "action": {"type": "chat/send", "room": room, "text": text},
                "meta": {"id": message_id, "time": sent, "clients": [client_of(id)]},
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


def stream(commands):
    separator = "["
    for command in commands:
        try:
            for element in answer(command):
                yield separator + json.dumps(element)
                separator = ","
        except Exception as e:  # of this command: the others are answered all the same
            logging.exception("a command failed")
            key = {"authId": command["authId"]} if "authId" in command else {"id": command["meta"]["id"]}
            yield separator + json.dumps({"answer": "error", **key, "details": str(e)})
            separator = ","
    yield "[]" if separator == "[" else "]"


@csrf_exempt
@require_POST
def logux(request):
    try:
        body = json.loads(request.body)
    except ValueError:
        return HttpResponseBadRequest("Wrong body")
    if body.get("version") != 4:
        return HttpResponseBadRequest("Back-end protocol version is not supported")
    if not constant_time_compare(str(body.get("secret")), settings.LOGUX_CONTROL_SECRET):
        return HttpResponseForbidden("Wrong secret")
    # Each answer leaves when it is there: the proxy does not wait for the end.
    return StreamingHttpResponse(stream(body["commands"]), content_type="application/json")


@csrf_exempt
@require_POST
def announce(request):
    """What the application says by itself, here to a room: POST /announce {"room":"chat/1","text":"Hello"}"""
    body = json.loads(request.body)
    room, text = body["room"], body["text"]
    meta = {"id": f"{now()} app:{uuid.uuid4().hex[:8]} 0", "time": now()}
    save(room, text, meta)
    send({"type": "chat/send", "room": room, "text": text}, {**meta, "channels": [room]})
    return HttpResponse(status=204)


def send(action, meta):
    """Gives an action of our own to the proxy."""
    commands = [{"command": "action", "action": action, "meta": meta}]
    body = {"version": 4, "secret": settings.LOGUX_CONTROL_SECRET, "commands": commands}
    request = urllib.request.Request(PROXY, json.dumps(body).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()  # raises what is not 200


urlpatterns = [path("logux", logux), path("announce", announce)]

if __name__ == "__main__":
    django.setup()
    with connection.cursor() as c:
        c.execute("CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, time INTEGER, came INTEGER, room TEXT, text TEXT)")
    call_command("runserver", "127.0.0.1:" + os.environ.get("PORT", "3000"), use_reloader=False)
