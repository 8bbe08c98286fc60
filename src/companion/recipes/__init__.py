"""How the zoo's models were made: a TOML file for each, the tasks that train them, the trainer."""
