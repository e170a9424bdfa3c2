"""Generators over the tokens of a corpus, for `tokenzoo lm`. One file a kind; `model: {kind: ..}` in a run file chooses.

    kind            one step of the transformer       ids of a position                    made for
    llama           one id                            one after another, a step each       any packing of one id a step
    per_dimension   one position                      one after another, by a small head   TokenBridge, RQ-Transformer
    bits            one position, its bits as input   groups of bits, all at once          ELM, Instella-T2I, UniWeTok
    masked          all positions                     any that are masked, all at once     CubiD

What all of them share is in `base.py`: built from a packing, nats of each id of a batch, samples as `Tokens`, and a folder to save
to. `fit.py` trains any of them, `measure.py` gives bits a token that compare from kind to kind: nats of all ids over their number.
"""
