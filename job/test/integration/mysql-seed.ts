/** Every type and kind of object that both products have, as one script of their client. */
const common = `
SET NAMES utf8mb4;
CREATE DATABASE shop CHARACTER SET latin1 COLLATE latin1_swedish_ci;
CREATE DATABASE \`odd name\` CHARACTER SET utf8mb4;
CREATE DATABASE empty_one CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
USE shop;
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE types (
  id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  t TINYINT, s SMALLINT UNSIGNED ZEROFILL, m MEDIUMINT, i INT, b BIGINT,
  d DECIMAL(30,10), f FLOAT, g DOUBLE, bits BIT(17), flag BOOLEAN,
  day DATE, at DATETIME(6), stamp TIMESTAMP(3) NULL, clock TIME(2), y YEAR,
  c CHAR(10) CHARACTER SET utf8mb4, v VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, l VARCHAR(50),
  bin BINARY(8), vb VARBINARY(100), tb TINYBLOB, bl LONGBLOB, tx MEDIUMTEXT CHARACTER SET utf8mb4,
  e ENUM('a','b''c','ü') CHARACTER SET utf8mb4, se SET('x','y','z'), j JSON, p POINT, ge GEOMETRY
) COMMENT 'it''s -- a; "comment"\\n--\\n-- Dumping data for table \`types\`\\n--\\n';
INSERT INTO types VALUES
  (0, -128, 65535, -8388608, -2147483648, -9223372036854775808, -12345678901234567890.0123456789, 1.5e-10, -1.7976931348623157e308, b'10101010101010101', 1,
   '0000-00-00', '0000-00-00 00:00:00', NULL, '-838:59:59', 1901, 'ä€😀', '😀\\n--\\n-- Dumping data for table \`types\`\\n--\\n', 'smörgås',
   X'00FF00FF5C270A0D', X'5C2700', X'', REPEAT(X'00', 70000), 'a;b\\\\c''d"e\\0f\\Z', 'ü', 'x,z', '{"a": [1, null, "\\\\u00e4"]}', POINT(1,2), ST_GeomFromText('LINESTRING(0 0, 1 1.5)')),
  (18446744073709551615, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (7, 0, 0, 0, 0, 0, 0, 0, 0, b'0', 0, '2024-02-30', '9999-12-31 23:59:59.999999', '2026-03-29 02:30:00.123', '00:00:00', 0, '', '', '', '', '', '', '', '', 'a', '', 'null', NULL, NULL);
CREATE TABLE customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100) CHARACTER SET utf8mb4 NOT NULL, best INT NULL,
  upper_name VARCHAR(100) CHARACTER SET utf8mb4 GENERATED ALWAYS AS (UPPER(name)) VIRTUAL, len INT GENERATED ALWAYS AS (CHAR_LENGTH(name)) STORED,
  note TEXT CHARACTER SET utf8mb4, KEY len (len), FULLTEXT KEY ft (note), CONSTRAINT long_enough CHECK (CHAR_LENGTH(name) > 1)) AUTO_INCREMENT = 1000;
CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, customer INT NOT NULL, amount DECIMAL(12,2),
  CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE);
ALTER TABLE customers ADD CONSTRAINT best_order FOREIGN KEY (best) REFERENCES orders (id);
INSERT INTO customers (id, name, note) VALUES (1, 'Ärla', 'the quick brown fox'), (2, 'Bo\\nB', NULL);
INSERT INTO orders VALUES (1, 1, 10.5), (2, 1, 0), (3, 2, -1);
UPDATE customers SET best = 2 WHERE id = 1;
CREATE TABLE parts_of (id INT NOT NULL, day DATE NOT NULL, PRIMARY KEY (id, day))
  PARTITION BY RANGE (YEAR(day)) (PARTITION old VALUES LESS THAN (2020), PARTITION new VALUES LESS THAN MAXVALUE);
INSERT INTO parts_of VALUES (1, '2019-01-01'), (1, '2021-01-01');
CREATE TABLE nokey (a INT, b VARCHAR(10)); INSERT INTO nokey VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
CREATE TABLE \`we\`\`ird . näme\` (\`sel\`\`ect\` INT PRIMARY KEY, \`a b\` TEXT) CHARACTER SET utf8mb4; INSERT INTO \`we\`\`ird . näme\` VALUES (1, 'it''s');
CREATE TABLE nothing (id INT PRIMARY KEY);
CREATE TABLE plain (id INT PRIMARY KEY, t TEXT) ENGINE = MyISAM; INSERT INTO plain VALUES (1, 'my');
CREATE TABLE plain_log (id INT) ENGINE = MyISAM; INSERT INTO plain_log VALUES (1), (2);
CREATE TABLE all_logs (id INT) ENGINE = MERGE UNION = (plain_log) INSERT_METHOD = LAST;
CREATE TABLE heap (id INT PRIMARY KEY) ENGINE = MEMORY; INSERT INTO heap VALUES (4);
USE \`odd name\`;
CREATE TABLE t (id INT PRIMARY KEY, e VARCHAR(10)); INSERT INTO t VALUES (1, '😀');
USE shop;
CREATE VIEW a_view_of_views AS SELECT 1 AS one;
CREATE VIEW rich AS SELECT c.id, c.name, o.amount FROM customers c JOIN orders o ON o.customer = c.id;
CREATE OR REPLACE DEFINER = keeper@localhost SQL SECURITY INVOKER VIEW a_view_of_views AS SELECT id FROM rich WHERE amount > 0;
CREATE VIEW \`odd name\`.across AS SELECT id FROM shop.a_view_of_views;
DELIMITER ;;
CREATE DEFINER = keeper@localhost PROCEDURE place(IN who INT, IN much DECIMAL(12,2)) COMMENT 'it''s; "quoted"'
BEGIN
  -- a comment with ; and 'quotes

--
-- Dumping data for table \`orders\`
--

  DECLARE note TEXT DEFAULT 'a;b//c\\\\d"e';
  IF much > 0 THEN INSERT INTO orders (customer, amount) VALUES (who, much); END IF;
END;;
CREATE FUNCTION total_of(who INT) RETURNS DECIMAL(20,2) READS SQL DATA RETURN (SELECT SUM(amount) FROM orders WHERE customer = who);;
CREATE TRIGGER before_order BEFORE INSERT ON orders FOR EACH ROW SET NEW.amount = GREATEST(NEW.amount, 0);;
CREATE TRIGGER after_order AFTER DELETE ON orders FOR EACH ROW BEGIN UPDATE customers SET best = NULL WHERE best = OLD.id; END;;
CREATE EVENT sweep ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE COMMENT 'ä' DO DELETE FROM nothing WHERE id < 0;;
DELIMITER ;
CREATE VIEW by_function AS SELECT id, total_of(id) AS total FROM customers;
CREATE USER keeper@localhost IDENTIFIED BY 'keeps';
CREATE USER 'o''dd na"me'@'10.0.%' IDENTIFIED BY 'x' WITH MAX_QUERIES_PER_HOUR 7;
GRANT SELECT, INSERT (id, amount) ON shop.orders TO keeper@localhost;
GRANT ALL ON \`odd name\`.* TO 'o''dd na"me'@'10.0.%' WITH GRANT OPTION;
GRANT EXECUTE ON PROCEDURE shop.place TO keeper@localhost;
`

const mysqlOnly = `
CREATE TABLE shop.newer (id INT PRIMARY KEY, a INT INVISIBLE DEFAULT 5, b INT, doc JSON, KEY hidden (b) INVISIBLE, KEY f ((b * 2)),
  KEY multi ((CAST(doc->'$.tags' AS UNSIGNED ARRAY))), KEY falling (b DESC));
INSERT INTO shop.newer (id, a, b, doc) VALUES (1, 2, 3, '{"tags": [1, 2]}');
SET SESSION sql_generate_invisible_primary_key = ON;
CREATE TABLE shop.hidden_key (a INT); INSERT INTO shop.hidden_key VALUES (1), (1);
CREATE ROLE reader; GRANT SELECT ON shop.* TO reader; GRANT reader TO keeper@localhost; SET DEFAULT ROLE reader TO keeper@localhost;
`

const mariadbOnly = `
CREATE SEQUENCE shop.numbers START WITH 10 INCREMENT BY 3; DO NEXTVAL(shop.numbers);
CREATE TABLE shop.numbered (id INT DEFAULT NEXTVAL(shop.numbers) PRIMARY KEY, u UUID, i INET6, secret INT INVISIBLE DEFAULT 3, KEY ig (i) IGNORED);
INSERT INTO shop.numbered (u, i) VALUES ('123e4567-e89b-12d3-a456-426655440000', '::1');
CREATE TABLE shop.versioned (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING;
INSERT INTO shop.versioned VALUES (1, 1), (2, 1); UPDATE shop.versioned SET v = 2 WHERE id = 1; DELETE FROM shop.versioned WHERE id = 2;
CREATE TABLE shop.periods (id INT PRIMARY KEY, since TIMESTAMP(6) GENERATED ALWAYS AS ROW START, till TIMESTAMP(6) GENERATED ALWAYS AS ROW END,
  v INT, PERIOD FOR SYSTEM_TIME (since, till)) WITH SYSTEM VERSIONING;
INSERT INTO shop.periods (id, v) VALUES (1, 1), (2, 1); UPDATE shop.periods SET v = 2 WHERE id = 1; DELETE FROM shop.periods WHERE id = 2;
CREATE TABLE shop.squeezed (id INT PRIMARY KEY, t TEXT COMPRESSED); INSERT INTO shop.squeezed VALUES (1, REPEAT('x', 1000));
CREATE TABLE shop.crashsafe (id INT PRIMARY KEY) ENGINE = Aria; INSERT INTO shop.crashsafe VALUES (1);
CREATE ROLE reader; GRANT SELECT ON shop.* TO reader; GRANT reader TO keeper@localhost; SET DEFAULT ROLE reader FOR keeper@localhost;
`

/** A bank whose writer moves money: sums and counts over its tables tell whether all parts show one moment. */
const bank = `
CREATE DATABASE bank; USE bank;
CREATE TABLE here (id INT PRIMARY KEY, money INT NOT NULL, moves INT NOT NULL);
CREATE TABLE there LIKE here;
CREATE TABLE ledger (n INT PRIMARY KEY, amount INT NOT NULL);
INSERT INTO here VALUES (1, 1000000, 0); INSERT INTO there VALUES (1, 0, 0);
`

export function seedOf(product: 'MySQL' | 'MariaDB'): string {
  return common + (product === 'MySQL' ? mysqlOnly : mariadbOnly) + bank
}
