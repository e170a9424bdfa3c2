"""A frozen image encoder's features as tokens: CubiD's channel-wise quantizer over a representation autoencoder."""
