"""Modules with fast CPU inference, used in models like PyTorch's own modules.

    conv2d      Conv2d, HalvingConv2d, DoublingConv2d       Winograd's filtering (`winograd`), no padded copies
    norm        GroupNorm                                   accurate in channels-last memory, over pieces of a picture (`tiles`)
    residual2d  sequence, Residual2d                        norm, activation, convolution and sum as one pass, in place
    conv_stack  ConvStack, Stage                            large pictures in pieces, outside of compiled graphs
    conv1d      Conv1d, ConvTranspose1d                     time-major memory
    residual1d  Residual1d                                  the sum in place, and in streams
    time_tiles  in_turn                                     long signals in tiles, linked by a state (`stream`)
    elu, snake  ELU, Snake, SnakeBeta                       fewer passes over memory, one after `fused.fuse`

Each module chooses its implementation itself, by device and by whether gradients are recorded (`mode`); `eval()` brings weights
into the best memory layout. There are no arguments for this. Values are equal up to rounding, and with gradients PyTorch's own
implementations run.
"""
