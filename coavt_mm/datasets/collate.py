"""The collate function: a batch is stacked where its clips were read."""

from collections.abc import Sequence

from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement

from coavt_mm.batches import as_int16, stack_inputs
from coavt_mm.errors import CoAVTError, ConfigError
from coavt_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def stack_clips(
    samples: Sequence[dict], sound: str = 'float32', _scope_: str | None = None
) -> dict:
    """Stack packed clips in the loader's worker: a few large tensors cross to training.

    mmengine's ``pseudo_collate`` hands over four tensors per clip and its labels, each
    of which is sent by itself, with a file descriptor; the preprocessor takes both.

    Args:
        samples: As ``PackAVTInputs`` makes them.
        sound: In which sound crosses: 'float32', or 'int16' in half the bytes. That
            loses nothing of sound stored in 16 bits at the rate that is asked for, as
            in shards; other sound is rounded to steps of 1 / 32768, and what is louder
            than full scale is cut off.
        _scope_: mmengine's mark of a config that another one has as its base, which
            reaches the function; not used.

    Returns:
        ``inputs``, see :func:`coavt_mm.batches.stack_inputs`, and ``data_samples``, a
        list, in which tensors are arrays until the preprocessor has them.

    Raises:
        ConfigError: ``sound`` is none of both.
        CoAVTError: Sound that crosses as whole numbers holds NaN.
    """
    if sound not in ('float32', 'int16'):
        raise ConfigError(f"stack_clips: sound={sound!r} is not 'float32' or 'int16'")
    batch = pseudo_collate(samples)
    described: list[BaseDataElement] = batch['data_samples']
    inputs = stack_inputs(batch['inputs'], described)
    if sound == 'int16' and 'waveform' in inputs:
        broken = inputs['waveform'].isnan().any(1).nonzero().flatten().tolist()
        if broken:  # whole numbers have none
            raise CoAVTError(f'the sound of {described[broken[0]].sample_id} holds NaN')
        inputs['waveform'] = as_int16(inputs['waveform'])
    return dict(inputs=inputs, data_samples=[sample.numpy() for sample in described])
