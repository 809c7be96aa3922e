"""Counts where a step would wait for a device, and its graphs, without a device."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# they read a value, or a shape that follows from values, on the host
READ = {
    '_local_scalar_dense',
    '_unique2',
    'equal',
    'is_nonzero',
    'masked_select',
    'multinomial',  # checks its input on the host
    'nonzero',
    'unique_consecutive',
    'unique_dim',
}
INDEXED = {'index', 'index_put', 'index_put_', '_index_put_impl_'}


class Waits(TorchDispatchMode):
    """Names of the operations of a block that wait for the device."""

    EXAMPLES = {
        '_local_scalar_dense': lambda x: x.sum().item(),
        'nonzero': lambda x: x.nonzero(),
        'index': lambda x: x[x > 0],
        'masked_select': lambda x: x.masked_select(x > 0),
        'repeat_interleave': lambda x: x.repeat_interleave(x.long()),
        'multinomial': lambda x: x.multinomial(1),
    }

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_bool = name in INDEXED and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        )
        repeats = name == 'repeat_interleave' and 'output_size' not in (kwargs or {})
        if name in READ or by_bool or repeats:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Rows(TorchFunctionMode):
    """The number of rows that each attention had."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.scaled_dot_product_attention:
            self.seen.append(args[0].shape[0])
        return func(*args, **(kwargs or {}))


class Graphs:
    """A back end for torch.compile that counts its graphs and runs them as they are."""

    def __init__(self):
        torch._dynamo.reset()  # what other tests compiled is not used again
        self.number = 0

    def __call__(self, graph, inputs):
        self.number += 1
        return graph.forward
