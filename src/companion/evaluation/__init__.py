"""How good the zoo's models are: what is measured, and the cards that say it."""
