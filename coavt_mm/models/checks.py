"""Parts of a CoAVT that don't fit together are refused by name."""

from torch import nn

from coavt_mm.errors import ConfigError


def check_parts(model: nn.Module) -> None:
    """Compare the sizes of a CoAVT's parts.

    Args:
        model (CoAVT): The model, with all its parts.

    Raises:
        ConfigError: The message names the setting that is wrong.
    """
    width = model.query_encoder.embed_dims
    expected = []
    if model.av_encoder is not None:
        context = model.query_encoder.layers[0].cross_attn.key.in_features
        expected.append(
            ('query_encoder.context_dims', context, model.av_encoder.embed_dims)
        )
    if model.contrastive_head is not None:
        head = model.contrastive_head
        text_dims = getattr(model.text_encoder, 'embed_dims', width)
        expected += [
            ('contrastive_head.embed_dims', head.query_proj.in_features, width),
            ('contrastive_head.text_dims', head.text_proj.in_features, text_dims),
        ]
    if model.matching_head is not None:
        given = model.matching_head.fc.in_features
        expected.append(('matching_head.embed_dims', given, width))
    if model.lm_head is not None:
        vocab = model.query_encoder.word_embeddings.num_embeddings
        expected += [
            ('lm_head.embed_dims', model.lm_head.dense.in_features, width),
            ('lm_head.vocab_size', len(model.lm_head.bias), vocab),
        ]
    for name, given, wanted in expected:
        if given != wanted:
            raise ConfigError(f'CoAVT: {name} is {given}, but must be {wanted}')
    if model.av_head is not None and getattr(model.av_encoder, 'one_pass', False):
        raise ConfigError(
            'CoAVT: with av_encoder.one_pass the tokens of the sound have seen the '
            'picture, so that av_head would have nothing to learn; leave one out'
        )
