"""Fast inference on CPUs behind ordinary modules: models are written with these as with PyTorch's own.

    conv2d      Conv2d, HalvingConv2d, DoublingConv2d       Winograd's filtering (`winograd`), no padded copies
    norm        GroupNorm                                   accurate in channels-last memory, over pieces of a picture (`tiles`)
    residual2d  sequence, Residual2d                        norm, activation, convolution and sum as one pass, in place
    conv_stack  ConvStack, Stage                            large pictures in pieces, outside of compiled graphs
    conv1d      Conv1d, ConvTranspose1d                     time-major memory
    residual1d  Residual1d                                  the sum in place, and in streams
    time_tiles  in_turn                                     long signals in tiles, linked by a state (`stream`)
    elu, snake  ELU, Snake, SnakeBeta                       fewer passes over memory, one after `fused.fuse`

Which way is taken is decided inside, by device and by whether gradients are recorded (`mode`), and weights are laid out by
`eval()`. No argument of a block asks for it, values are equal up to rounding, and with gradients everything is PyTorch's own.
"""
