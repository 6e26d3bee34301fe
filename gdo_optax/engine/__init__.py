"""The engine: nodes are data, and one interpreter walks them."""
