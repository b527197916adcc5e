"""Plays scripts, each in a process of its own: what they import takes seconds, is imported once, here, and each play is a fork of that.

usage: python_stage.py; reads plays from its input, a number, a tab and a JSON object a line: {"script", "args", "cwd", "env"} and, for a
play with an /etc/hosts of its own, "hostsFile"; prints one line for each that has ended: its number, a tab and {"code", "stdout", "stderr"}.
Ends with its input.
"""

import ast
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import subprocess
import sys
import traceback

# It makes its TLS context as it is imported, of the environment at that time: each play imports it for itself.
_LATE = {"aiohttp"}
# What a fork of a process with the system's frameworks in it may do is not known elsewhere: there each play is an interpreter of its own.
_FORKS = sys.platform == "linux"
_NEWNS, _BIND, _PRIVATE, _REC = 0x20000, 4096, 1 << 18, 16384

sys.path.pop(0)
# Only what lies beside a script would be written, and that into the sources.
sys.dont_write_bytecode = True
_read = set()


def _quietly(prepare, script):
    """What an import warns of is told by nobody's play."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        prepare(script)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _import(name, parts=()):
    try:
        module = importlib.import_module(name)
    except Exception:
        return  # The script meets the same and tells it.
    for part in parts:
        if not hasattr(module, part) and hasattr(module, "__path__"):
            _import(f"{name}.{part}")


def _prepare(script):
    """Imports what a script does, but for what lies beside it."""
    if script in _read or not _FORKS:
        return
    _read.add(script)
    beside = {name[:-3] for name in os.listdir(os.path.dirname(script)) if name.endswith(".py")}
    with open(script) as file:
        statements = ast.parse(file.read()).body
    for one in statements:
        if isinstance(one, ast.Import):
            names = [(alias.name, ()) for alias in one.names]
        elif isinstance(one, ast.ImportFrom) and one.level == 0:
            names = [(one.module, [alias.name for alias in one.names])]
        else:
            continue
        for name, parts in names:
            first = name.split(".")[0]
            if first not in _LATE and first not in beside:
                _import(name, parts)
    gc.collect()
    gc.freeze()


def _enter(hosts):
    libc = ctypes.CDLL(None, use_errno=True)
    failed = (
        libc.unshare(_NEWNS)
        or libc.mount(b"none", b"/", None, _REC | _PRIVATE, None)
        or libc.mount(hosts.encode(), b"/etc/hosts", None, _BIND, None)
    )
    if failed:
        raise OSError(ctypes.get_errno(), "no mount namespace")


def _play(play):
    """Returns the exit status."""
    try:
        os.environ.clear()
        os.environ.update(play["env"])
        os.chdir(play["cwd"])
        if "hostsFile" in play:
            _enter(play["hostsFile"])
        sys.argv = [play["script"], *play["args"]]
        sys.path.insert(0, os.path.dirname(play["script"]))
        runpy.run_path(play["script"], run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _forked(play):
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for mine, place in ((nothing, 0), (out_end, 1), (err_end, 2)):
            os.dup2(mine, place)
        os.closerange(3, max(out, out_end, err, err_end, nothing) + 1)
        code = 1
        try:
            code = _play(play)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(out_end)
    os.close(err_end)
    return out, err, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _spawned(play):
    child = subprocess.Popen(
        [sys.executable, play["script"], *play["args"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=play["cwd"],
        env=play["env"],
    )
    return os.dup(child.stdout.fileno()), os.dup(child.stderr.fileno()), child.wait


class _Running:
    def __init__(self, selector, number, play):
        self.number = number
        out, err, self.wait = (_forked if _FORKS else _spawned)(play)
        self.texts = {out: [], err: []}
        self.open = 2
        for pipe in self.texts:
            selector.register(pipe, selectors.EVENT_READ, self)

    def read(self, selector, pipe):
        piece = os.read(pipe, 65536)
        if piece:
            self.texts[pipe].append(piece)
            return
        selector.unregister(pipe)
        os.close(pipe)
        self.open -= 1
        if self.open == 0:
            code = self.wait()
            stdout, stderr = (b"".join(pieces).decode("utf-8", "replace") for pieces in self.texts.values())
            ended = json.dumps({"code": code, "stdout": stdout, "stderr": stderr})
            print(self.number, ended, sep="\t", flush=True)


def main():
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    asked = b""
    while True:
        for key, _ in selector.select():
            if key.fd != 0:
                key.data.read(selector, key.fd)
                continue
            piece = os.read(0, 65536)
            if not piece:
                return
            *lines, asked = (asked + piece).split(b"\n")
            for line in lines:
                number, text = line.decode().split("\t", 1)
                play = json.loads(text)
                _quietly(_prepare, play["script"])
                _Running(selector, number, play)


main()
