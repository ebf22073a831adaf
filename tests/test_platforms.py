"""Every module can be imported where there is no POSIX: Windows lacks modules and names that Linux and macOS have."""

import subprocess
import sys
import textwrap

# Runs in a process of its own: our modules see `os` and `signal` without what Windows lacks, and libraries see all.
AS_ON_WINDOWS = textwrap.dedent("""
    import builtins, importlib, os, pkgutil, signal, types

    LACKS = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "syslog", "posix"}
    NAMES = {
        "os": "fork forkpty getuid geteuid getgid getegid setsid killpg getpgid sched_getaffinity uname statvfs "
        "mkfifo nice wait3 WNOHANG O_NONBLOCK O_NOFOLLOW posix_fadvise sysconf getloadavg register_at_fork chown",
        "signal": "SIGHUP SIGKILL SIGALRM SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE SIGQUIT setitimer alarm ITIMER_REAL "
        "pthread_kill pthread_sigmask sigwait",
    }

    def without(module, names):
        bare = types.ModuleType(module.__name__)
        bare.__dict__.update({key: value for key, value in vars(module).items() if key not in names})
        return bare

    bare = {name: without(module, NAMES[name].split()) for name, module in (("os", os), ("signal", signal))}
    real = builtins.__import__

    def windows(name, globals=None, locals=None, fromlist=(), level=0):
        ours = str((globals or {}).get("__name__", "")).split(".")[0] == "multitune"
        if ours and name.split(".")[0] in LACKS:
            raise ImportError(f"{globals['__name__']} imports {name}, which Windows lacks")
        return bare[name] if ours and name in bare else real(name, globals, locals, fromlist, level)

    builtins.__import__ = windows

    def fails(code):
        try:
            exec(code, {"__name__": "multitune.example"})
        except (ImportError, AttributeError):
            return True
        return False

    assert fails("import fcntl") and fails("import os; os.fork") and fails("from signal import SIGHUP")
    assert not fails("import os; os.getpid") and not fails("import json")
    import multitune

    names = [one.name for one in pkgutil.walk_packages(multitune.__path__, "multitune.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    print(len(names))
""")


def test_every_module_can_be_imported_on_windows() -> None:
    done = subprocess.run([sys.executable, "-c", AS_ON_WINDOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 300
