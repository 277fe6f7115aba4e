"""Work that outlives the request it was asked for by."""
