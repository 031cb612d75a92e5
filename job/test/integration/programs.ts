/** Stored programs of the seed, one statement each: they live in each MySQL server's own dictionary. */
export const programs = [
  `CREATE DEFINER=keeper@localhost PROCEDURE shop.place(IN who INT, IN much DECIMAL(12,2)) COMMENT 'it''s; "quoted"'
BEGIN
  -- a comment with ; and 'quotes
  DECLARE note TEXT DEFAULT 'a;b//c\\\\d"e';
  IF much > 0 THEN INSERT INTO shop.orders (customer, amount) VALUES (who, much); END IF;
END`,
  `CREATE FUNCTION shop.total_of(who INT) RETURNS DECIMAL(20,2) READS SQL DATA RETURN (SELECT SUM(amount) FROM shop.orders WHERE customer = who)`,
  `CREATE FUNCTION latin.hej() RETURNS VARCHAR(20) CHARSET latin1 DETERMINISTIC RETURN 'smörgås'`,
  `CREATE TRIGGER shop.before_order BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.amount = GREATEST(NEW.amount, 0)`,
  `CREATE TRIGGER shop.after_order AFTER DELETE ON shop.orders FOR EACH ROW BEGIN INSERT INTO shop.audit (what) VALUES (CONCAT('gone; ', OLD.id)); END`,
  `CREATE TRIGGER shop.audit_trim BEFORE INSERT ON shop.audit FOR EACH ROW SET NEW.what = TRIM(NEW.what)`,
  `CREATE EVENT shop.sweep ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM shop.audit WHERE id < 0`,
  // not to an account with NDB_STORED_USER: its distribution crashes the other MySQL servers of NDB 9.7.2
  'GRANT EXECUTE ON PROCEDURE shop.place TO keeper@localhost',
]

/** Room for a table on disk. A cluster that is used again has it already: then creating the table tells whether it is right. */
export const diskObjects = [
  "CREATE LOGFILE GROUP lg ADD UNDOFILE 'undo.dat' INITIAL_SIZE 4M UNDO_BUFFER_SIZE 2M ENGINE NDB",
  "CREATE TABLESPACE ts ADD DATAFILE 'data.dat' USE LOGFILE GROUP lg INITIAL_SIZE 8M ENGINE NDB",
]
