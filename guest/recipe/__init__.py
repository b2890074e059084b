# guest/recipe - the steps of guest/build, one file a step; plain Python, nothing but its standard library.
