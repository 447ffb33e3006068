CREATE TABLE interlock_schema (
	version INTEGER NOT NULL
);
CREATE TABLE turns (
	id VARCHAR NOT NULL, 
	parent VARCHAR, 
	owner VARCHAR NOT NULL, 
	chat VARCHAR, 
	message VARCHAR, 
	graph VARCHAR NOT NULL, 
	created FLOAT NOT NULL, 
	status VARCHAR NOT NULL, 
	base VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	text TEXT NOT NULL, 
	user_digest VARCHAR NOT NULL, 
	messages TEXT NOT NULL, 
	thread VARCHAR, 
	request TEXT, 
	PRIMARY KEY (id)
);
CREATE INDEX turns_by_base ON turns (owner, base, status, created);
CREATE INDEX turns_by_created ON turns (created);
CREATE INDEX turns_by_chat ON turns (owner, chat, digest, created) WHERE chat IS NOT NULL;
CREATE INDEX turns_by_digest ON turns (owner, digest, created, user_digest);
CREATE INDEX turns_by_message ON turns (owner, message) WHERE message IS NOT NULL;
CREATE TABLE turn_calls (
	call_id VARCHAR NOT NULL, 
	turn VARCHAR NOT NULL, 
	PRIMARY KEY (call_id, turn)
);
CREATE INDEX turn_calls_by_turn ON turn_calls (turn);
CREATE TABLE approvals (
	id VARCHAR NOT NULL, 
	turn VARCHAR NOT NULL, 
	thread VARCHAR NOT NULL, 
	call_id VARCHAR NOT NULL, 
	graph VARCHAR NOT NULL, 
	snapshot VARCHAR NOT NULL, 
	tool VARCHAR NOT NULL, 
	args TEXT NOT NULL, 
	digest VARCHAR NOT NULL, 
	rule TEXT NOT NULL, 
	caller_owner VARCHAR NOT NULL, 
	caller VARCHAR NOT NULL, 
	approver VARCHAR, 
	created FLOAT NOT NULL, 
	expires FLOAT, 
	status VARCHAR NOT NULL, 
	decided FLOAT, 
	decided_by VARCHAR, 
	note TEXT, 
	used FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (call_id)
);
CREATE INDEX approvals_by_created ON approvals (created);
CREATE INDEX ix_approvals_turn ON approvals (turn);
CREATE INDEX approvals_by_status ON approvals (status, created);
CREATE INDEX approvals_by_owner ON approvals (caller_owner, created);
CREATE TABLE journal (
	call_id VARCHAR NOT NULL, 
	thread VARCHAR NOT NULL, 
	tool VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	claimed FLOAT NOT NULL, 
	finished BOOLEAN NOT NULL, 
	failed BOOLEAN NOT NULL, 
	result TEXT, 
	PRIMARY KEY (call_id)
);
CREATE INDEX ix_journal_claimed ON journal (claimed);
INSERT INTO interlock_schema VALUES (1);
INSERT INTO turns VALUES ('t1', NULL, 'ada', 'chat-1', 'message-1', 'assistant', 1755000000.25, 'waiting', 'base', 'digest',
    'It is 12 °C.', 'user', '[{"role":"assistant","tool_calls":[{"id":"call_1"}]}]', 'thread-1', '{"model":"assistant"}');
INSERT INTO turn_calls VALUES ('call_1', 't1');
INSERT INTO approvals VALUES ('abcdefgh', 't1', 'thread-1', 'call_1', 'assistant', 's1', 'filesystem/write_file',
    '{"path":"a"}', 'digest', 'role developer, ask ''filesystem/write_file'' (access.yaml:3)', 'ada', 'Ada', 'admin',
    1755000000.25, NULL, 'pending', NULL, NULL, NULL, NULL);
INSERT INTO journal VALUES ('call_0', 'thread-1', 'filesystem/read_file', 'digest', 1755000000.5, 1, 0, '{"content":"hello"}');
