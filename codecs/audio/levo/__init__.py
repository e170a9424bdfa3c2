"""LeVo / SongGeneration: songs as one token stream, or as two side by side, the voice and what accompanies it."""
