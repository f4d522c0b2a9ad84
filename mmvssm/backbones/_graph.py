"""Modules that torch.fx holds as one node, whichever tracer asks."""

import functools
from typing import Any

import torch
import torch.fx
from timm.models import register_notrace_module

from mmvssm.tracing import is_compiling


def one_node(cls: Any) -> Any:
    """Class decorator: symbolic tracing makes a call of the module a node, and does not look into its `forward`.

    timm's tracer is told so by a list. Others, such as torch.fx.symbolic_trace and torchvision's by default, take for
    leaves what torch.nn defines alone; so the module answers for itself where it is called with a proxy.
    """
    forward = cls.forward

    @functools.wraps(forward)
    def answer(self, *args, **kwargs):
        if not is_compiling():
            for proxy in (*args, *kwargs.values()):
                if isinstance(proxy, torch.fx.Proxy) and proxy.tracer.root is not self:
                    path = proxy.tracer.path_of_module(self)
                    return proxy.tracer.create_proxy('call_module', path, args, kwargs)
        return forward(self, *args, **kwargs)

    cls.forward = answer
    return register_notrace_module(cls)
