"""``python -m coavt_mm`` is ``coavt``; torchrun starts it so."""

from coavt_mm.cli.main import main

if __name__ == '__main__':
    main()
