"""Run the tests beside graphs in the engine itself, with a scripted model and scripted servers."""
