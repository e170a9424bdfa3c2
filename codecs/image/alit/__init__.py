"""ALIT: recurrent tokenization; every roll-out adds tokens and refines the earlier ones, until the picture is good enough."""
