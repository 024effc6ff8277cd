"""``python -m taxidask.cli``: the command, whatever it is installed as; the app starts runs so."""

from taxidask.cli import main

if __name__ == "__main__":
    main()
