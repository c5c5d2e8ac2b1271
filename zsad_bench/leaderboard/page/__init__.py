"""The page of a suite: one HTML file with tables, pictures and where each number comes from."""
