"""Maps of pixels, distances and neighbours: what several stages need and none owns."""
