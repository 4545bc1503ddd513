from reka_cli.cli import entry

entry()
