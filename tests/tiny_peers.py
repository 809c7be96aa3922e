"""Encoders of others in miniature: random weights, the real processors, in folders as
`save_pretrained` writes them."""

from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ['a', 'the', 'dog', 'barks', 'bell', 'rings', 'red', 'ball', 'while', 'it']
SPECIAL = ['<s>', '<pad>', '</s>', '<unk>']
SECONDS, RATE = 1, 48000  # of a CLAP's window
WIDTH, SIDE = 12, 32  # of embeddings, of pictures
KINDS = ('clap', 'clip', 'siglip', 'pe_audio_video')
TEXT = dict(
    vocab_size=len(SPECIAL) + len(WORDS),
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=18,
    bos_token_id=0,
    pad_token_id=1,
    eos_token_id=2,
)
VISION = dict(
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=SIDE,
    patch_size=16,
)
SQUARE = dict(height=SIDE, width=SIDE)


def tokenizer(longest: int = 12) -> hf.PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    rules = Tokenizer(models.WordLevel(words, unk_token='<unk>'))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    rules.post_processor = processors.TemplateProcessing(
        single='<s> $A </s>', special_tokens=[('<s>', 0), ('</s>', 2)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=rules,
        bos_token='<s>',
        eos_token='</s>',
        pad_token='<pad>',
        unk_token='<unk>',
        model_max_length=longest,
    )


def _clap(**audio) -> tuple:
    swin = dict(
        spec_size=64,
        num_mel_bins=16,
        window_size=2,
        patch_size=4,
        patch_stride=(4, 4),
        patch_embeds_hidden_size=8,
        depths=[1, 1],
        num_attention_heads=[1, 2],
        hidden_size=16,
        projection_dim=WIDTH,
        **audio,
    )
    text = dict(TEXT, projection_dim=WIDTH)
    model = hf.ClapModel(
        hf.ClapConfig(text_config=text, audio_config=swin, projection_dim=WIDTH)
    )
    fused = 'fusion' if audio.get('enable_fusion') else 'rand_trunc'
    extractor = hf.ClapFeatureExtractor(
        feature_size=16, sampling_rate=RATE, max_length_s=SECONDS, truncation=fused
    )
    return model, hf.ClapProcessor(extractor, tokenizer())


def _clip() -> tuple:
    cfg = hf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=WIDTH)
    pictures = hf.CLIPImageProcessor(size=dict(shortest_edge=SIDE), crop_size=SQUARE)
    return hf.CLIPModel(cfg), hf.CLIPProcessor(pictures, tokenizer())


def _siglip() -> tuple:
    text = dict(TEXT, max_position_embeddings=12, projection_size=16)
    cfg = hf.SiglipConfig(text_config=text, vision_config=VISION)
    pictures = hf.SiglipImageProcessor(size=SQUARE)
    return hf.SiglipModel(cfg), hf.SiglipProcessor(pictures, tokenizer())


def _pe_audio_video() -> tuple:
    from transformers.models.pe_video.video_processing_pe_video import (
        PeVideoVideoProcessor,
    )

    base = dict(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        head_dim=8,
    )
    dac = dict(
        model_type='dac',
        encoder_hidden_size=4,
        decoder_hidden_size=16,
        downsampling_ratios=[2, 8, 10, 12],
        upsampling_ratios=[2, 2, 2, 2],
        hidden_size=64,
        codebook_dim=8,
        n_codebooks=2,
    )
    sizes = dict(embed_dim=16, depth=1, num_heads=2, img_size=SIDE, patch_size=16)
    vision = dict(
        architecture='vit_pe_core_tiny_patch16_384', num_classes=16, model_args=sizes
    )
    text = dict(TEXT, model_type='modernbert', cls_token_id=0, sep_token_id=2)
    both = dict(
        base,
        audio_config=dict(base, dac_config=dac),
        video_config=dict(base, vision_config=vision),
    )
    cfg = hf.PeAudioVideoConfig(text_config=text, audio_video_config=both)
    half = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3, do_normalize=True)
    films = PeVideoVideoProcessor(
        size=SQUARE, do_resize=True, do_rescale=True, num_frames=4, **half
    )
    sounds = hf.PeAudioFeatureExtractor()
    model = hf.PeAudioVideoModel(cfg)
    return model, hf.PeAudioVideoProcessor(sounds, films, tokenizer())


MAKERS = dict(clap=_clap, clip=_clip, siglip=_siglip, pe_audio_video=_pe_audio_video)


def save(kind: str, folder: Path, **options) -> Path:
    """Weights, drawn so that inputs differ in their features, and processor."""
    torch.manual_seed(0)
    model, processor = MAKERS[kind](**options)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    hf.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
