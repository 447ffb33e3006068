"""Who is calling: API keys, tokens of issuers, the people behind a shared key, and addresses that guess keys."""
