"""Make a folder of a checkpoint that sentence-transformers loads (extra of that name).

python tools/converters/sentence_transformer.py CHECKPOINT FOLDER
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from coavt_mm.errors import CoAVTError

if __name__ == '__main__':
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint')
    parser.add_argument('folder')
    parser.add_argument('--config', help='where the checkpoint carries none')
    args = parser.parse_args()
    from coavt_mm.outside import sentence_transformer

    try:
        model = sentence_transformer(args.checkpoint, args.config)
    except CoAVTError as error:
        raise SystemExit(f'error: {error}') from error
    model.save_pretrained(args.folder, create_model_card=False)
    print(f"SentenceTransformer('{args.folder}', trust_remote_code=True) loads it")
