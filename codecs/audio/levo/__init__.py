"""LeVo / SongGeneration: songs as one token stream (the mix), or as two parallel ones, vocal and accompaniment."""
