"""Makes Triton's interpreter fast enough for tests."""


def patch_once() -> None:
    """Let a launch prepare each module once; the interpreter would at each call of a device function, 5 ms each."""
    from triton.runtime import interpreter

    ready: set[int] = set()
    launch = interpreter.GridExecutor.__call__

    def launch_fresh(self, *args, **kwargs):
        ready.clear()
        return launch(self, *args, **kwargs)

    def call(self, *args, **kwargs):
        module = id(self.fn.__globals__)
        if module not in ready:
            ready.add(module)
            interpreter._patch_lang(self.fn)
        return self.rewrite()(*args, **kwargs)

    interpreter.GridExecutor.__call__ = launch_fresh
    interpreter.InterpretedFunction.__call__ = call
