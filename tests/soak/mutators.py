"""Changes of files, drawn by a seed: by disks, downloads, programs, people and foes.

A mutator takes a ``random.Random`` and bytes and gives other bytes. Those of bytes fit
any file; the others know what they change, so that more than the first check is met.
"""

import contextlib
import io
import json
import pickletools
import re
import tarfile
import zipfile
from collections.abc import Callable
from random import Random

Mutator = Callable[[Random, bytes], bytes]

LARGEST = 1 << 20  # bytes that a mutation may add


# ---------------------------------------------------------------------------- bytes
def _span(rng: Random, data: bytes, longest: int = 4096) -> tuple[int, int]:
    begin = rng.randrange(len(data) + 1)
    return begin, min(begin + rng.randint(1, longest), len(data))


def flip_bits(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_in_head(rng: Random, data: bytes) -> bytes:
    size = rng.choice((16, 64, 512))
    return flip_bits(rng, data[:size]) + data[size:]


def cut_end(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def cut_little(rng: Random, data: bytes) -> bytes:
    return data[: max(len(data) - rng.randint(1, 64), 0)]


def cut_out(rng: Random, data: bytes) -> bytes:
    begin, end = _span(rng, data)
    return data[:begin] + data[end:]


def cut_begin(rng: Random, data: bytes) -> bytes:
    return data[rng.randint(1, 64) :]


def insert(rng: Random, data: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.choice((1, 4, 64, 2048))) + data[place:]


def repeat(rng: Random, data: bytes) -> bytes:
    begin, end = _span(rng, data)
    return data[:end] + data[begin:end] * rng.randint(1, 4) + data[end:]


def zeros(rng: Random, data: bytes) -> bytes:
    begin, end = _span(rng, data, rng.choice((64, 4096, len(data) or 1)))
    return data[:begin] + bytes(end - begin) + data[end:]


def swap(rng: Random, data: bytes) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(data) + 1) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def append(rng: Random, data: bytes) -> bytes:
    rest = data[:LARGEST] if rng.random() < 0.5 else rng.randbytes(rng.randint(1, 4096))
    return data + rest


def extreme(rng: Random, data: bytes) -> bytes:
    """A field of 1 to 8 bytes with the value that a length or count should not have."""
    size = rng.choice((1, 2, 4, 4, 8))
    bits = 8 * size
    values = (0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 2 ** (bits // 2))
    field = rng.choice(values).to_bytes(size, rng.choice(('little', 'big')))
    where = rng.choice((64, 1024, len(data) or 1))
    place = rng.randrange(min(where, len(data)) or 1)
    return data[:place] + field + data[place + size :]


BYTES: tuple[Mutator, ...] = (
    flip_bits, flip_in_head, cut_end, cut_little, cut_out, cut_begin, insert, repeat,
    zeros, swap, append, extreme,
)  # fmt: skip


# ----------------------------------------------------------------------------- JSON
class Raw(str):
    """Text that stands in the JSON as it is."""


DEEP = 100_000
STRANGE_TEXTS = (
    '', ' ', '\n', '\0', 'a\0b', '\ud800', '\x1b[2J\x1b]0;x\x07', '..', '../../x',
    '/dev/zero', '/etc/passwd', 'http://127.0.0.1:9/x.mp4', 'a' * 300, 'a' * 100_000,
    '{}', '{0.__class__}', '%s%n', '=1+1', '|`<script>', 'é\u0301', '\u202e', 'ＡＢ',
    '$\\frac$', 'None', 'nan', '[UNK]', 'os.system', '-1', '١٢',
)  # fmt: skip
STRANGE_NUMBERS = (
    0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**18, 0.5, -0.0, 1e308, 1e-308, 1e15,
    True, False,
)  # fmt: skip


def _strange(rng: Random) -> object:
    raw = ('1' + '0' * 400, '1' + '0' * 5000, 'NaN', '-Infinity', '1e999', "'", '',
           '[' * DEEP, '{"a":' * DEEP, '[' * 500 + ']' * 500)  # fmt: skip
    return rng.choice((
        rng.choice(STRANGE_TEXTS), rng.choice(STRANGE_NUMBERS), Raw(rng.choice(raw)),
        None, [], {}, [[]], [1], [None], {'a': 1}, {'type': 'os.system'},
        ['a', 2], [{}], {'_scope_': 'os'},
    ))  # fmt: skip


def _places(node: object) -> list[tuple]:
    """Each (container, key) of a tree."""
    items = list(node.items()) if isinstance(node, dict) else []
    items = list(enumerate(node)) if isinstance(node, list) else items
    return [place for key, value in items for place in ((node, key), *_places(value))]


def _written(node: object) -> str:
    """As ``json.dumps``, with ``Raw`` as it is and repeated keys of lists of pairs."""
    if isinstance(node, Raw):
        return str(node)
    if isinstance(node, dict):
        pairs = [f'{json.dumps(str(k))}: {_written(v)}' for k, v in node.items()]
        return '{' + ', '.join(pairs) + '}'
    if isinstance(node, list):
        return '[' + ', '.join(map(_written, node)) + ']'
    return json.dumps(node)


def _twice(rng: Random, text: str) -> str:
    """A key that is there twice, with another value behind."""
    keys = list(re.finditer(r'"(\w+)": ', text))
    if not keys:
        return text
    key = rng.choice(keys)
    value = _written(_strange(rng))
    return f'{text[: key.start()]}{key[0]}{value}, {text[key.start() :]}'


def change_json(rng: Random, text: str) -> str:
    """A value of another kind, a key less, more or twice."""
    try:
        tree = [json.loads(text)]
    except (ValueError, RecursionError):
        return text
    place = rng.choice(_places(tree))
    container, key = place
    action = rng.choice(('value', 'value', 'value', 'less', 'more', 'twice'))
    if action == 'value':
        container[key] = _strange(rng)
    elif action == 'less':
        del container[key]
    elif action == 'more' and isinstance(container[key], dict):
        container[key][rng.choice(('x', '_scope_', 'id', 'type'))] = _strange(rng)
    elif action == 'more' and isinstance(container[key], list):
        container[key].insert(0, _strange(rng))
    written = ', '.join(map(_written, tree))
    return _twice(rng, written) if action == 'twice' else written


def change_encoding(rng: Random, data: bytes) -> bytes:
    text = data.decode('utf-8', 'replace')
    text = text.replace('\n', rng.choice(('\n', '\r\n', '\r', '\u2028', '\n\n')))
    codec = rng.choice(('utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32', 'latin-1',
                        'cp1252', 'cp037', 'utf-8', 'shift_jis'))  # fmt: skip
    return text.encode(codec, 'replace')


def _encoded(text: str) -> bytes:
    return text.encode('utf-8', 'surrogatepass')


def json_file(rng: Random, data: bytes) -> bytes:
    return _encoded(change_json(rng, data.decode('utf-8', 'surrogateescape')))


def json_line(rng: Random, data: bytes) -> bytes:
    lines = data.decode('utf-8', 'replace').split('\n')
    place = rng.randrange(len(lines))
    lines[place] = change_json(rng, lines[place])
    return _encoded('\n'.join(lines))


def move_lines(rng: Random, data: bytes) -> bytes:
    lines = data.split(b'\n')
    place = rng.randrange(len(lines))
    line = lines.pop(place)
    action = rng.choice(('less', 'twice', 'moved', 'joined', 'empty'))
    if action in ('twice', 'moved'):
        lines.insert(rng.randrange(len(lines) + 1), line)
    if action == 'twice':
        lines.insert(place, line)
    if action == 'joined':
        lines[place - 1 : place] = [b''.join((lines or [b''])[place - 1 : place]), line]
    if action == 'empty':
        lines.insert(place, rng.choice((b'', b'  ', b'null', b'\xef\xbb\xbf', b'#')))
    return b'\n'.join(lines)


JSON: tuple[Mutator, ...] = (json_file, json_file, json_file, json_file, *BYTES[:9])
JSON_LINES: tuple[Mutator, ...] = (
    *(json_line,) * 5, *(move_lines,) * 2, change_encoding, *BYTES,
)  # fmt: skip


# ------------------------------------------------------------------------------ csv
def csv_cell(rng: Random, data: bytes) -> bytes:
    cells = re.split(rb'([,\n])', data)
    place = rng.randrange(len(cells))
    new = (*STRANGE_TEXTS, *map(str, STRANGE_NUMBERS), '"', '""', 'a"b', '"a\nb"',
           '1,5', '1e400', '12:30', 'sep=;', '#', 'a,b,c,d,e,f,g')  # fmt: skip
    cells[place] = _encoded(rng.choice(new))
    return b''.join(cells)


def csv_sign(rng: Random, data: bytes) -> bytes:
    return data.replace(b',', rng.choice((b';', b'\t', b'|', b', ', b',,', b'" ,"')))


CSV: tuple[Mutator, ...] = (
    *(csv_cell,) * 6, csv_sign, *(move_lines,) * 2, *(change_encoding,) * 2, *BYTES,
)  # fmt: skip


# -------------------------------------------------------------------- pickle and zip
def change_pickle(rng: Random, data: bytes) -> bytes:
    """Another global, number, text, or operation."""
    try:
        ops = [*pickletools.genops(data)]
    except (ValueError, UnicodeDecodeError):
        return flip_bits(rng, data)
    ends = [pos for _, _, pos in ops[1:]] + [len(data)]
    spans = [(op.name, arg, pos, end)
             for (op, arg, pos), end in zip(ops, ends, strict=True)]  # fmt: skip
    name, _, begin, end = rng.choice(spans)
    new = {
        'GLOBAL': b'c' + rng.choice((
            b'os\nsystem', b'builtins\neval', b'builtins\ngetattr', b'torch\nload',
            b'collections\nOrderedDict', b'numpy\nndarray', b'builtins\nbytearray',
            b'torch._utils\n_rebuild_tensor_v2', b'torch\nHalfStorage', b'torch\nSize',
        )) + b'\n',
        'BININT': b'J' + rng.choice((b'\xff' * 4, b'\0' * 4, b'\xff\xff\xff\x7f')),
        'BININT1': b'K' + rng.randbytes(1),
        'BINUNICODE': b'X\x02\0\0\0' + rng.choice((b'cp', b'..', b'a\n', b'\0\0')),
    }.get(name)  # fmt: skip
    if new is None or rng.random() < 0.3:
        new = rng.choice((b'', data[begin:end] * 2, b'N', b'}', b')', b'K\x01', b'\x88',
                          b'](K\x01K\x02e', b'c__main__\nx\n'))  # fmt: skip
    return data[:begin] + new + data[end:]


def change_zip(rng: Random, data: bytes) -> bytes:
    """A member changed, left out, renamed, packed or doubled; the archive is sound."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return flip_bits(rng, data)
    names = sorted(members)
    name = rng.choice(names)
    if rng.random() < 0.5:
        name = next((n for n in names if n.endswith('.pkl')), name)
    content = members.pop(name)
    how = rng.choice(
        ('change', 'change', 'change', 'bytes', 'less', 'renamed', 'large')
    )
    if how == 'change' and name.endswith('.pkl'):
        members[name] = change_pickle(rng, content)
    elif how in ('change', 'bytes'):
        members[name] = rng.choice(BYTES)(rng, content)
    elif how == 'renamed':
        members[rng.choice(('x', '../../x', f'{name}x', name.upper()))] = content
    elif how == 'large':
        members[name] = content + bytes(rng.choice((1, 1 << 16, 1 << 22)))
    target = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(target, 'w', packing) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return target.getvalue()


ZIP: tuple[Mutator, ...] = (*(change_zip,) * 8, *BYTES)


def safetensors_header(rng: Random, data: bytes) -> bytes:
    size = int.from_bytes(data[:8], 'little')
    head, rest = data[8 : 8 + size], data[8 + size :]
    head = json_file(rng, head)
    if rng.random() < 0.3:
        head = head + b' ' * rng.randint(0, 64)
    return len(head).to_bytes(8, 'little') + head + rest


SAFETENSORS: tuple[Mutator, ...] = (*(safetensors_header,) * 8, *BYTES)


# ------------------------------------------------------------------------------ tar
def tar_header(rng: Random, data: bytes) -> bytes:
    """A field of a member's header, with the checksum that it then has."""
    heads = [p for p in range(0, len(data) - 511, 512)
             if data[p + 257 : p + 262] == b'ustar']  # fmt: skip
    if not heads:
        return flip_bits(rng, data)
    place = rng.choice(heads)
    head = bytearray(data[place : place + 512])
    fields = {
        'name': (0, 100), 'mode': (100, 8), 'size': (124, 12), 'mtime': (136, 12),
        'type': (156, 1), 'link': (157, 100), 'prefix': (345, 155), 'sparse': (386, 96),
    }  # fmt: skip
    begin, length = fields[rng.choice([*fields])]
    value = rng.choice((
        b'', b'../../x', b'/abs', b'x', b'77777777777', b'-1', b'\x80' + b'\xff' * 11,
        b'99999999', b'0', b'1', b'2', b'5', b'6', b'S', b'L', b'x', b'g', b'\xff' * 8,
        b'00000007.json', b'.', rng.randbytes(length),
    ))  # fmt: skip
    head[begin : begin + length] = value[:length].ljust(length, b'\0')
    head[148:156] = b' ' * 8
    head[148:156] = b'%06o\0 ' % sum(head)
    return data[:place] + bytes(head) + data[place + 512 :]


def tar_members(rng: Random, data: bytes) -> bytes:
    """Members left out, moved, or as another kind of entry."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            parts = [(info, tar.extractfile(info)) for info in tar]
            parts = [(info, file.read() if file else b'') for info, file in parts]
    except (tarfile.TarError, OSError, ValueError):
        return flip_bits(rng, data)
    target = io.BytesIO()
    place = rng.randrange(len(parts))
    info, content = parts.pop(place)
    how = rng.choice(('less', 'moved', 'kind', 'changed'))
    if how == 'kind':
        info.type = rng.choice((b'1', b'2', b'5', b'6', b'S'))
        info.linkname = rng.choice(('/etc/passwd', '../x', info.name))
    if how == 'changed':
        content = rng.choice(BYTES)(rng, content)
        info.size = len(content)
    if how != 'less':
        parts.insert(rng.randrange(len(parts) + 1), (info, content))
    with tarfile.open(fileobj=target, mode='w', format=tarfile.USTAR_FORMAT) as tar:
        for info, content in parts:
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


TAR: tuple[Mutator, ...] = (*(tar_header,) * 6, *(tar_members,) * 4, *BYTES)


def python_tokens(rng: Random, data: bytes) -> bytes:
    """A word or sign of a config in Python left out, doubled or exchanged."""
    parts = re.split(rb'(\W)', data)
    place = rng.randrange(len(parts))
    parts[place] = rng.choice((b'', parts[place] * 2, b'x', b'(', b'None', b'1', b"'",
                               rng.choice(parts)))  # fmt: skip
    return b''.join(parts)


PYTHON: tuple[Mutator, ...] = (*(python_tokens,) * 3, move_lines, change_encoding)


def mutated(
    rng: Random, data: bytes, mutators: tuple[Mutator, ...]
) -> tuple[str, bytes]:
    """One to three changes, and their names."""
    names, before = [], data
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutator = rng.choice(mutators)
        names.append(mutator.__name__)
        # what it looks for need not be there any more
        with contextlib.suppress(Exception):
            data = mutator(rng, data)
    if data == before:
        names.append('nothing')
    return '+'.join(names), data
