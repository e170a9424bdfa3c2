"""DetailFlow: ordered groups of tokens, of which the first few decode to a smaller picture and more of them to finer detail."""
