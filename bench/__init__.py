"""What an explanation costs, over one gradient of the same model; another tool beside."""
