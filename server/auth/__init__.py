"""Who asks: keys, tokens of issuers, people behind a shared key, and addresses that guess."""
