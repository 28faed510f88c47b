# Runs beside a program that nobody trusts, in one process with it, and does what the tester asks. What it says may be the
# program's invention; the tests are not here.
import operator
import socket
import types


class Worker:
    kOperations = {
        "call": lambda function, *args, **named: function(*args, **named),
        "getattr": getattr, "setattr": setattr, "len": len, "iter": iter, "next": next, "bool": bool, "str": str,
        "getitem": operator.getitem, "setitem": operator.setitem, "contains": operator.contains,
    }

    def __init__(self):
        self.kept = []
        self.numbers = {}

    def keep(self, value):
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return ["kept", self.numbers[id(value)]]

    def value(self, tag, number):
        return self.kept[number]

    def load(self, source, names):
        """Runs the program; those of `names` that it defines."""
        program = types.ModuleType("program")
        sys.modules["program"] = program
        exec(compile(source, "program.py", "exec"), program.__dict__)
        return {name: encode(program.__dict__[name], self.keep) for name in names if name in program.__dict__}

    def answer(self, request):
        try:
            if request[0] == "load":
                return ["loaded", self.load(request[1], request[2])]
            args = [decode(part, self.value) for part in request[1]]
            named = {name: decode(part, self.value) for name, part in request[2].items()}
            return ["value", encode(self.kOperations[request[0]](*args, **named), self.keep)]
        except BaseException as error:
            known = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
            number = error.errno if isinstance(error, OSError) else None
            return ["raised", known.__name__, type(error).__name__ + ": " + str(error)[:500], number]


def work():
    line = Line(socket.socket(fileno=4))
    worker = Worker()
    line.send("ready")
    while True:
        try:
            request = line.receive()
        except EOFError:
            return
        line.send(worker.answer(request))


work()
