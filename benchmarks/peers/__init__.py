"""Other ways of getting a query's result into another process, to be measured next to Skein."""
