"""What the scripts of Python's drivers share: the way to the database, and scenes whose results become one JSON object.

usage of each script: script.py '{"host": ..., "port": ..., ...}' [scene ...]; without names every scene but `policy` is played.
"""

import json
import sys

way = json.loads(sys.argv[1])
_scenes = {}


def scene(play):
    _scenes[play.__name__] = play
    return play


def dsn(**more):
    parts = {
        "host": way["host"],
        "hostaddr": "127.0.0.1",
        "port": way["port"],
        "dbname": way["database"],
        "user": way["user"],
        "password": way["password"],
        "sslmode": "verify-full",
        "sslrootcert": way["caFile"],
        **more,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())


def url(dialect):
    return (
        f"postgresql+{dialect}://{way['user']}:{way['password']}@{way['host']}:{way['port']}/{way['database']}"
        f"?sslmode=verify-full&sslrootcert={way['caFile']}"
    )


def plain(value):
    """JSON keeps what it knows; everything else is compared as Python shows it."""
    if isinstance(value, (int, str, type(None), bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return repr(value)


def play(connect, failed, error_of):
    """`connect()` makes what each scene is given; a failure the driver reports is a result."""
    wanted = sys.argv[2:] or [name for name in _scenes if name != "policy"]
    results = {}
    for name in wanted:
        subject = connect()
        try:
            results[name] = plain(_scenes[name](subject))
        except failed as error:
            results[name] = error_of(error)
        finally:
            close = getattr(subject, "close", None)
            if close:
                close()
    print(json.dumps(results))
