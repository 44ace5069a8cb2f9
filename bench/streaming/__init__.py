"""The room of `bench stream`: one file per reader, the process that runs one reader once, and the data they share."""
