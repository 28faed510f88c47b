# Tests programs that run elsewhere. Serves one item after another: a line {"program", "setup", "stub", "entry_point", "check", "asserts",
# "share"} and with it a socket to a fresh worker come over descriptor 4; each is tested in a process of its own, and answered by a line
# {"passed", "total", "reason"}. Here are the expected values; no line of the program runs here.
# The tests' own imports are quicker where a module is there already.
import array
import ast
import builtins
import decimal
import errno
import fractions
import importlib
import json
import marshal
import os
import random
import socket

kTooMuch = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
kNotAllowed = (errno.EPERM, errno.EACCES, errno.EROFS, errno.EAGAIN, errno.EMFILE, errno.EXDEV, errno.ECONNREFUSED)
kLongestLine = 8 << 20  # bytes of an answer of the program's


class Raised(Exception):
    """An exception of the program's that is no built-in one."""


class Lost(Exception):
    """The program has ended, or does not speak sense."""


class TooLong(Exception):
    """An answer over kLongestLine."""


class NoVerdict(Exception):
    """There never was a worker, or the tests are not of a kind that works from afar: this says nothing about the program."""


class Program:
    """The program at the other end."""

    def __init__(self, worker):
        self.worker = worker
        self.answers = worker.makefile("rb")
        self.remotes = {}
        if self.answers.readline(6) != b"ready\n":
            raise NoVerdict

    def answer(self):
        line = self.answers.readline(kLongestLine + 1)
        if not line.endswith(b"\n"):
            raise TooLong if len(line) > kLongestLine else EOFError
        return json.loads(line)

    def own(self, value):
        if isinstance(value, Remote):
            return ["kept", object.__getattribute__(value, "number")]
        raise NoVerdict  # such a value cannot be handed to the program

    def remote(self, tag, number):
        if tag != "kept" or not isinstance(number, int):
            raise Lost
        return self.remotes.setdefault(number, Remote(self, number))

    def request(self, message):
        """What the answer to a message holds, which may be anything."""
        try:
            data = marshal.dumps(message)
            self.worker.sendall(len(data).to_bytes(8, "little") + data)
            reply = self.answer()
            if reply[0] != "raised":
                return reply[1]
            kind, text, number = reply[1:]
        except (EOFError, OSError, ValueError, LookupError, TypeError, RecursionError):
            raise Lost from None
        self.raise_again(kind, text, number)

    def value(self, item):
        try:
            return decode(item, self.remote)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            raise Lost from None

    def load(self, source, names):
        """Runs the program; those of `names` that it defines, with the standard library's modules as such."""
        found = {}
        for pair in self.request(["load", source, sorted(names)]):
            if not isinstance(pair, list) or len(pair) != 2 or pair[0] not in names:
                raise Lost
            name, item = pair
            module = item[1] if isinstance(item, list) and item[0] == "module" else None
            if module is None:
                found[name] = self.value(item)
            elif module in sys.stdlib_module_names:
                found[name] = importlib.import_module(module)
        return found

    def raise_again(self, kind, message, number):
        found = getattr(builtins, str(kind), None)
        ordinary = isinstance(found, type) and issubclass(found, Exception)
        error = found.__new__(found, message) if ordinary else Raised(message)
        error.errno = number
        error.of_program = True
        raise error

    def ask(self, operation, *args, **named):
        encoded = {name: encode(value, self.own) for name, value in named.items()}
        return self.value(self.request([operation, [encode(value, self.own) for value in args], encoded]))


class Remote:
    """A value that stays with the program. Equal to itself alone: what the program says about equality counts for nothing."""

    def __init__(self, program, number):
        object.__setattr__(self, "program", program)
        object.__setattr__(self, "number", number)

    def ask_(self, *args, **named):
        return object.__getattribute__(self, "program").ask(*args, **named)

    def __call__(self, *args, **named):
        return self.ask_("call", self, *args, **named)

    def __getattr__(self, name):
        return self.ask_("getattr", self, name)

    def __setattr__(self, name, value):
        self.ask_("setattr", self, name, value)

    def __iter__(self):
        return self.ask_("iter", self)

    def __next__(self):
        return self.ask_("next", self)

    def __len__(self):
        return self.ask_("len", self)

    def __bool__(self):
        return bool(self.ask_("bool", self))

    def __str__(self):
        return str(self.ask_("str", self))

    def __getitem__(self, key):
        return self.ask_("getitem", self, key)

    def __setitem__(self, key, value):
        self.ask_("setitem", self, key, value)

    def __contains__(self, value):
        return bool(self.ask_("contains", self, value))


class Count:
    def __init__(self):
        self.passed = self.total = 0
        self.failure = None

    def test(self, function):
        """Counts a test; with its first failure."""
        self.total += 1
        try:
            if function():
                self.passed += 1
                return
            self.failure = self.failure or AssertionError()
        except (Lost, NoVerdict):
            raise
        except Exception as error:
            self.failure = self.failure or error


class CountAsserts(ast.NodeTransformer):
    """Makes `assert x` into a counted test that lets the next ones run."""

    def visit_Assert(self, node):
        if isinstance(node.test, ast.Constant):
            return node
        arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        function = ast.Name(id="__test__", ctx=ast.Load())
        return ast.Expr(ast.Call(func=function, args=[ast.Lambda(args=arguments, body=node.test)], keywords=[]))


def names_in(sources):
    """What the tests may want of the program: names that are not built in, or where there is none, also those that are."""
    names = set()
    for source in sources:
        try:
            names |= {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and not node.id.startswith("__")}
        except SyntaxError:
            pass  # its own run says so
    return {name for name in names if not hasattr(builtins, name)} or names


def run_tests(item, program, count):
    sources = [item["setup"], item["check"], *item["asserts"]]
    space = {"__name__": "tests", "__test__": count.test}
    space.update(program.load(item["program"], names_in(sources) | {item["entry_point"]}))
    candidate = space.get(item["entry_point"])
    try:
        exec(item["stub"], space)  # the prompt's own helpers and imports, rather than what the program made of them
    except Exception:
        pass
    exec(item["setup"], space)
    if item["check"]:
        tree = ast.parse(item["check"])
        exec(compile(ast.fix_missing_locations(CountAsserts().visit(tree)) if item["share"] else tree, "test", "exec"), space)
        if candidate is None:
            raise NameError("the program does not define " + item["entry_point"])
        space[item["entry_point"]] = candidate
        space["check"](candidate)
        if count.total == 0:
            count.test(lambda: True)
    for source in item["asserts"]:
        count.test(lambda: (exec(source, space), True)[1])
        if count.failure and not item["share"]:
            return


def reason_of(error):
    if error is None:
        return "ok"
    if isinstance(error, NoVerdict):
        return "no_verdict"
    if isinstance(error, Lost):
        return "lost"
    if isinstance(error, TooLong):
        return "output_limit"
    if isinstance(error, MemoryError):
        return "memory_limit"
    if isinstance(error, NameError):
        return "runtime_error"
    if not hasattr(error, "of_program"):
        return "wrong"
    if isinstance(error, SyntaxError):
        return "compile_error"
    if error.errno in kTooMuch:
        return "output_limit"
    if error.errno in kNotAllowed:
        return "forbidden"
    return "runtime_error"


def judge(item, worker):
    """What the tests say."""
    count = Count()
    try:
        run_tests(item, Program(worker), count)
        error = count.failure
    except Exception as caught:
        error = caught
        count.total += 1
    return {"passed": count.passed, "total": count.total, "reason": reason_of(error)}


def receive_item(control):
    """The next item and its worker's socket; nothing at the end."""
    data, ancillary, _, _ = control.recvmsg(1 << 16, socket.CMSG_SPACE(4))
    if not data:
        return None, None
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2][:4])
    while not data.endswith(b"\n"):
        data += control.recv(1 << 16)
    return json.loads(data), socket.socket(fileno=descriptors[0])


def tell(control, verdict):
    control.sendall(json.dumps(verdict).encode() + b"\n")


def serve():
    control = socket.socket(fileno=4)
    while True:
        item, worker = receive_item(control)
        if item is None:
            return
        child = os.fork()
        if child == 0:
            tell(control, judge(item, worker))
            os._exit(0)
        worker.close()
        if os.waitpid(child, 0)[1] != 0:
            tell(control, {"passed": 0, "total": 1, "reason": "no_verdict"})


serve()
