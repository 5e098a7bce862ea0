"""`python -m vsrkd_plugin` is the command `basicsr`."""

from vsrkd_plugin.cli import main

if __name__ == '__main__':
    raise SystemExit(main())
