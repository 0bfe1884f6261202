"""From direct edges between candidates to a pruned graph whose numbers still sum up."""
