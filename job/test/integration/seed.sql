CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;
CREATE DATABASE latin DEFAULT CHARACTER SET latin1 COLLATE latin1_swedish_ci;
CREATE DATABASE `größe` DEFAULT CHARACTER SET utf8mb4;
CREATE TABLE shop.customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100) NOT NULL, email VARCHAR(100) UNIQUE, notes TEXT, photo MEDIUMBLOB, extra JSON) ENGINE=NDB;
CREATE TABLE shop.orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, customer INT NOT NULL, amount DECIMAL(12,2) NOT NULL DEFAULT 0, placed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (placed), CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES shop.customers (id) ON DELETE CASCADE) ENGINE=NDB;
CREATE TABLE shop.audit (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(200)) ENGINE=NDB;
CREATE TABLE shop.without_key (a INT, b VARCHAR(20)) ENGINE=NDB;
CREATE TABLE shop.empty_one (a INT PRIMARY KEY) ENGINE=NDB;
CREATE TABLE shop.cache (k VARCHAR(50) PRIMARY KEY, v VARCHAR(200)) ENGINE=InnoDB;
CREATE TABLE `größe`.`maß` (`größe` INT PRIMARY KEY, wert VARCHAR(50)) ENGINE=NDB;
CREATE TABLE latin.words (id INT PRIMARY KEY, word VARCHAR(50)) ENGINE=NDB;
CREATE TABLE shop.all_types (
  id INT PRIMARY KEY, c_bit BIT(33), c_tiny TINYINT UNSIGNED, c_bool BOOL, c_small SMALLINT, c_medium MEDIUMINT, c_int INT UNSIGNED, c_big BIGINT UNSIGNED,
  c_decimal DECIMAL(65,30), c_float FLOAT, c_double DOUBLE, c_date DATE, c_datetime DATETIME(6), c_timestamp TIMESTAMP(6) NULL, c_time TIME(3), c_year YEAR,
  c_char CHAR(40) CHARACTER SET utf8mb4, c_varchar VARCHAR(200) CHARACTER SET utf8mb4, c_latin VARCHAR(50) CHARACTER SET latin1, c_binary BINARY(8), c_varbinary VARBINARY(300),
  c_tinyblob TINYBLOB, c_blob BLOB, c_mediumblob MEDIUMBLOB, c_longblob LONGBLOB, c_tinytext TINYTEXT, c_text TEXT, c_mediumtext MEDIUMTEXT, c_longtext LONGTEXT,
  c_json JSON, c_enum ENUM('a','b','ç'), c_set SET('x','y','z'), c_point POINT,
  c_virtual INT GENERATED ALWAYS AS (c_small + 1) VIRTUAL, c_stored INT GENERATED ALWAYS AS (c_small * 2) STORED,
  UNIQUE KEY (c_varchar), KEY (c_date, c_int)) ENGINE=NDB;
CREATE TABLE shop.on_disk (id INT PRIMARY KEY, payload VARCHAR(500) NOT NULL) TABLESPACE ts STORAGE DISK ENGINE=NDB;
INSERT INTO shop.all_types (id) VALUES (1);
INSERT INTO shop.all_types VALUES (2, b'111111111111111111111111111111111', 255, TRUE, -32768, 8388607, 4294967295, 18446744073709551615,
  -12345678901234567890123456789012345.123456789012345678901234567890, 1.5e-10, 1.7976931348623157e308, '9999-12-31', '2026-02-28 23:59:59.999999', '2026-11-21 01:02:03.456789', '-838:59:59.000', 2155,
  '☃ snow 雪', 'naïve 🐘 Ω', 'café', X'00FF00FF00FF00FF', X'0001020304', REPEAT('t', 255), REPEAT('b', 65535), REPEAT('m', 200000), REPEAT(X'00FF', 150000), REPEAT('é', 100), REPEAT('ü', 30000), REPEAT('x', 100000), REPEAT('雪', 40000),
  JSON_OBJECT('a', JSON_ARRAY(1, 2.5, NULL, 'ü')), 'ç', 'x,z', ST_GeomFromText('POINT(1 2)'), DEFAULT, DEFAULT);
INSERT INTO shop.all_types (id, c_bit, c_varchar, c_blob, c_text, c_json, c_small) VALUES (3, b'0', '', '', '', 'null', 0);
INSERT INTO `größe`.`maß` VALUES (1, 'groß'), (2, NULL);
INSERT INTO latin.words VALUES (1, 'smörgåsbord'), (2, 'été');
INSERT INTO shop.cache VALUES ('a', '1'), ('it''s', 'back\\slash "quoted" ;'), ('🐘', 'elephant');
SET cte_max_recursion_depth = 100000;
INSERT INTO shop.customers (name, email, notes, photo, extra) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT CONCAT('name ', i), CONCAT('c', i, '@example.org'), REPEAT('note ', i % 900), REPEAT(CHAR(i % 256), i % 4000), JSON_OBJECT('i', i) FROM n;
INSERT INTO shop.orders (customer, amount) SELECT id, id * 1.25 FROM shop.customers;
INSERT INTO shop.orders (customer, amount) SELECT id, id * 2 FROM shop.customers;
INSERT INTO shop.without_key SELECT id, name FROM shop.customers WHERE id <= 300;
INSERT INTO shop.audit (what) SELECT name FROM shop.customers WHERE id <= 500;
INSERT INTO shop.on_disk SELECT id, REPEAT('d', id % 500) FROM shop.customers WHERE id <= 400;
CREATE VIEW shop.totals AS SELECT c.id, c.name, SUM(o.amount) AS total FROM shop.customers c JOIN shop.orders o ON o.customer = c.id GROUP BY c.id, c.name;
CREATE VIEW shop.best AS SELECT * FROM shop.totals WHERE total > 100;
CREATE VIEW shop.audited AS SELECT COUNT(*) AS n FROM shop.audit;
CREATE USER shopper@'%' IDENTIFIED BY 'old-password-of-shopper';
CREATE USER 'o''neil'@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'another one' PASSWORD EXPIRE NEVER;
CREATE USER keeper@localhost IDENTIFIED BY 'third';
CREATE ROLE reading, writing;
GRANT SELECT ON shop.* TO reading;
GRANT INSERT, UPDATE (amount) ON shop.orders TO writing;
GRANT reading TO shopper@'%', 'o''neil'@'10.0.0.0/255.0.0.0';
GRANT writing TO shopper@'%' WITH ADMIN OPTION;
GRANT NDB_STORED_USER ON *.* TO shopper@'%';
GRANT ALL ON latin.* TO keeper@localhost WITH GRANT OPTION;
SET DEFAULT ROLE reading TO shopper@'%';
